// Package injection says what a pod gets so that its SDK asks podid: the
// variables, the volume and the paths of EKS Pod Identity.
package injection
