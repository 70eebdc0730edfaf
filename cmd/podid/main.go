// Command podid is the command line of Open Pod Identity.
package main

func main() {}
