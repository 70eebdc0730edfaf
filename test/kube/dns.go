//go:build unix

package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
)

const clusterDomain = "cluster.local."

// nameServer answers for a cluster's services as the Kubernetes DNS specification has it: the
// address of a service, those of a headless service's pods, one pod of it by host name, and SRV of named
// ports. It answers for hosts besides, and knows no other name: there is no network to ask.
type nameServer struct {
	services  corelisters.ServiceLister
	endpoints discoverylisters.EndpointSliceLister
	hosts     map[string]string // lower case, with the last dot

	stop    context.CancelFunc
	servers []*dns.Server
	factory informers.SharedInformerFactory
}

// startNameServer serves on both transports once it knows the cluster's services.
func startNameServer(ctx context.Context, client kubernetes.Interface, hosts map[string]string, packets net.PacketConn, streams net.Listener) (*nameServer, error) {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	factory := informers.NewSharedInformerFactory(client, 0)
	s := &nameServer{
		services:  factory.Core().V1().Services().Lister(),
		endpoints: factory.Discovery().V1().EndpointSlices().Lister(),
		hosts:     map[string]string{},
		stop:      stop,
		factory:   factory,
	}
	for name, address := range hosts {
		s.hosts[strings.ToLower(dns.Fqdn(name))] = address
	}
	factory.Start(running.Done())
	limited, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for what, synced := range factory.WaitForCacheSync(limited.Done()) {
		if !synced {
			stop()
			return nil, fmt.Errorf("the name server did not get the list of %v within %v", what, startLimit)
		}
	}
	s.servers = []*dns.Server{{PacketConn: packets, Handler: s}, {Listener: streams, Handler: s}}
	for _, server := range s.servers {
		started := make(chan error, 1)
		server.NotifyStartedFunc = func() { started <- nil }
		go func() { started <- server.ActivateAndServe() }()
		if err := <-started; err != nil {
			s.close()
			return nil, fmt.Errorf("start the name server: %w", err)
		}
	}
	return s, nil
}

func (s *nameServer) close() {
	s.stop()
	for _, server := range s.servers {
		_ = server.Shutdown()
	}
	s.factory.Shutdown()
}

// ServeDNS implements dns.Handler.
func (s *nameServer) ServeDNS(w dns.ResponseWriter, request *dns.Msg) {
	answer := new(dns.Msg)
	answer.SetReply(request)
	answer.Authoritative = true
	if len(request.Question) != 1 {
		answer.Rcode = dns.RcodeFormatError
	} else {
		q := request.Question[0]
		records, err := s.find(strings.ToLower(q.Name), q.Qtype)
		switch {
		case errors.Is(err, errNoName):
			answer.Rcode = dns.RcodeNameError
		case err != nil:
			answer.Rcode = dns.RcodeServerFailure
		}
		answer.Answer = records
	}
	if w.LocalAddr().Network() == "udp" {
		answer.Truncate(dns.MinMsgSize)
	}
	_ = w.WriteMsg(answer)
}

var errNoName = errors.New("no such name")

// find returns the records of a name. A name that exists and has none of the type has no records and no error.
func (s *nameServer) find(name string, kind uint16) ([]dns.RR, error) {
	if address, ok := s.hosts[name]; ok {
		return addresses(name, kind, []string{address}), nil
	}
	labels := strings.Split(strings.TrimSuffix(name, ".svc."+clusterDomain), ".")
	if !strings.HasSuffix(name, ".svc."+clusterDomain) || len(labels) < 2 {
		return nil, errNoName
	}
	n := len(labels)
	service, err := s.services.Services(labels[n-1]).Get(labels[n-2])
	if err != nil {
		return nil, errNoName
	}
	switch {
	case n == 2:
		found, err := s.addressesOf(service, "")
		return addresses(name, kind, found), err
	case n == 3:
		found, err := s.addressesOf(service, labels[0])
		if err == nil && len(found) == 0 {
			err = errNoName
		}
		return addresses(name, kind, found), err
	case n == 4 && strings.HasPrefix(labels[0], "_") && strings.HasPrefix(labels[1], "_"):
		return ports(name, kind, service, labels[0][1:], labels[1][1:])
	}
	return nil, errNoName
}

// addressesOf are a service's own address or, of a headless one, those of its ready pods: all, or
// the one whose host name is hostname.
func (s *nameServer) addressesOf(service *core.Service, hostname string) (found []string, err error) {
	headless := service.Spec.ClusterIP == core.ClusterIPNone
	if !headless {
		if hostname != "" {
			return nil, nil
		}
		return []string{service.Spec.ClusterIP}, nil
	}
	selector := labels.SelectorFromSet(labels.Set{discovery.LabelServiceName: service.Name})
	slices, err := s.endpoints.EndpointSlices(service.Namespace).List(selector)
	if err != nil {
		return nil, err
	}
	for _, slice := range slices {
		for _, endpoint := range slice.Endpoints {
			ready := endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready
			named := hostname == "" || endpoint.Hostname != nil && *endpoint.Hostname == hostname
			if named && (ready || service.Spec.PublishNotReadyAddresses) {
				found = append(found, endpoint.Addresses...)
			}
		}
	}
	return found, nil
}

func header(name string, kind uint16) dns.RR_Header {
	// A TTL of zero: tests change services faster than any cache would notice.
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET}
}

func addresses(name string, kind uint16, found []string) (records []dns.RR) {
	for _, text := range found {
		ip := net.ParseIP(text)
		switch {
		case ip == nil:
		case ip.To4() != nil && kind == dns.TypeA:
			records = append(records, &dns.A{Hdr: header(name, kind), A: ip.To4()})
		case ip.To4() == nil && kind == dns.TypeAAAA:
			records = append(records, &dns.AAAA{Hdr: header(name, kind), AAAA: ip})
		}
	}
	return records
}

// ports answers _port._protocol.service.namespace for a service.
func ports(name string, kind uint16, service *core.Service, port, protocol string) ([]dns.RR, error) {
	for _, p := range service.Spec.Ports {
		if p.Name != port || !strings.EqualFold(string(p.Protocol), protocol) {
			continue
		}
		if kind != dns.TypeSRV {
			return nil, nil
		}
		target := strings.SplitN(name, ".", 3)[2]
		return []dns.RR{&dns.SRV{Hdr: header(name, kind), Weight: 1, Port: uint16(p.Port), Target: target}}, nil
	}
	return nil, errNoName
}

// waitForDefaultAccount returns when pods can be made in a namespace: the controller manager makes its
// service account a moment after the namespace.
func waitForDefaultAccount(ctx context.Context, client kubernetes.Interface, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		_, err := client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", meta.GetOptions{})
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the service account default of %s: %w", namespace, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
