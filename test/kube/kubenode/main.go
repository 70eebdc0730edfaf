//go:build linux

// Command kubenode is the first process of a node, inside namespaces of its own: it gives the
// node a file system, starts containerd, the kubelet and kube-proxy, and takes all of it along
// when it ends. "kubenode pause" is what holds a pod's namespaces.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// order is a line of standard input.
type order struct {
	Node    *node    // the first order
	Program *program // then one per program
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "pause" {
		pause()
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "kubenode is started by package kube, as the first process of a node")
		os.Exit(2)
	}
	go func() {
		if err := obey(os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, "kubenode:", err)
			os.Exit(1)
		}
		// Standard input has ended, and so has whoever started us. When the first process
		// ends, the kernel kills all others and removes the namespaces.
		os.Exit(137)
	}()
	reap()
}

func obey(in io.Reader) error {
	orders := json.NewDecoder(in)
	for {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read an order: %w", err)
		}
		if o.Node != nil {
			if err := o.Node.setUp(); err != nil {
				return fmt.Errorf("set up the node: %w", err)
			}
			fmt.Println("kubenode: the node is set up")
		}
		if o.Program != nil {
			if err := o.Program.start(); err != nil {
				return fmt.Errorf("start %s: %w", o.Program.Name, err)
			}
		}
	}
}

// reap collects every process that ends, the first one's duty. A node without one of its programs is no node.
func reap() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	for range ended {
		for {
			var status syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
			if pid <= 0 || err != nil {
				break
			}
			running.Lock()
			name := running.name[pid]
			running.Unlock()
			if name != "" {
				fmt.Fprintf(os.Stderr, "kubenode: %s ended: exit status %d, signal %v\n", name, status.ExitStatus(), status.Signal())
				os.Exit(1)
			}
		}
	}
}

// pause waits until it is told to end. It is the first process of a pod that shares its
// process namespace, and then reaps too.
func pause() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	if os.Getpid() == 1 {
		go reap()
	}
	<-stop
	os.Exit(0)
}
