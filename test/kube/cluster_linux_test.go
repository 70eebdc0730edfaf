package kube_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/openpodidentity/podid/test/kube"
	admissionregistration "k8s.io/api/admissionregistration/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
)

// TestCluster shares one cluster of two nodes. The last part loses one of them.
func TestCluster(t *testing.T) {
	before := hostState(t)
	t.Run("OfTwoNodes", func(t *testing.T) {
		kube.NeedNodes(t)
		began := time.Now()
		c := kube.NewCluster(t, kube.ClusterOptions{Nodes: 2, Hosts: map[string]string{"sts.test.podid.dev": kube.Gateway}})
		t.Logf("two nodes ready after %v", time.Since(began).Round(100*time.Millisecond))
		client := kubernetes.NewForConfigOrDie(c.Config())
		makeServiceAccount(t, client, "default", "test-sa")
		makeNamespace(t, client, "test-namespace")
		makeServiceAccount(t, client, "test-namespace", "test-sa")
		one, two := servingPod(t, client, "one", "node1"), servingPod(t, client, "two", "node2")
		three := servingPod(t, client, "three", "node1")
		one, two, three = awaitRunning(t, client, one), awaitRunning(t, client, two), awaitRunning(t, client, three)
		t.Logf("three pods running after %v", time.Since(began).Round(100*time.Millisecond))
		makeServices(t, client)

		t.Run("AProjectedTokenNamesPodAndNode", func(t *testing.T) { projectedToken(t, c, client, one) })
		t.Run("PodsOnBothNodesReachEachOther", func(t *testing.T) { reachEachOther(t, c, one, two, three) })
		t.Run("LogsAreReadable", func(t *testing.T) {
			if out := kubectl(t, c, "logs", "two"); !strings.Contains(out, "serving on") {
				t.Errorf("logs: %q", out)
			}
		})
		t.Run("NamesOfServicesAndPods", func(t *testing.T) { names(t, c, client, one, two) })
		t.Run("ServicesAreBalanced", func(t *testing.T) { services(t, c) })
		t.Run("PodsReachTheAPIServer", func(t *testing.T) {
			eventuallyExec(t, c, "one", func(out string) bool { return strings.Contains(out, "certificate signed by unknown authority") }, "get", "https://kubernetes.default/version")
		})
		t.Run("PodsReachWhatTheTestListensTo", func(t *testing.T) { listening(t, c) })
		t.Run("TheTestReachesPods", func(t *testing.T) { dialing(t, c, one) })
		t.Run("PortsHaveServiceRecords", func(t *testing.T) { serviceRecords(t, c) })
		t.Run("AWebhookThatIsAService", func(t *testing.T) { serviceWebhook(t, c, client) })
		t.Run("ADaemonSetOnTheNodesNetwork", func(t *testing.T) { daemonSet(t, c, client) })
		t.Run("DeploymentsRun", func(t *testing.T) { deployment(t, client) })
		t.Run("AnAddressOnANodeIsItsOwn", func(t *testing.T) { linkLocal(t, c) })
		t.Run("AnIPv6AddressOnANode", func(t *testing.T) { linkLocal6(t, c, client) })
		t.Run("PodsRunOnWithoutTheAPIServer", func(t *testing.T) { withoutAPIServer(t, c, client, one) })
		t.Run("ANodeThatCannotStartSaysWhy", func(t *testing.T) {
			_, err := c.StartNode(t.Context(), kube.NodeOptions{Labels: map[string]string{"no label": "x"}})
			for _, text := range []string{"start node3", "kubelet ended", "no label"} {
				if err := wants(err, text); err != nil {
					t.Error(err)
				}
			}
		})
		t.Run("ALostNodeIsLost", func(t *testing.T) { loseANode(t, c, client, one) })
	})
	if after := hostState(t); after != before {
		t.Errorf("the machine is not as it was.\nbefore:\n%s\nafter:\n%s", before, after)
	}
}

func probe(arguments ...string) core.Container {
	return core.Container{Name: "app", Image: kube.ProbeImage, ImagePullPolicy: core.PullNever, Args: arguments}
}

const tokenPath = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token"

func servingPod(t *testing.T, client kubernetes.Interface, name, node string) *core.Pod {
	t.Helper()
	expires := int64(86400)
	app := probe("serve", ":8080")
	app.Ports = []core.ContainerPort{{Name: "http", ContainerPort: 8080}}
	app.VolumeMounts = []core.VolumeMount{{Name: "token", MountPath: filepath.Dir(tokenPath), ReadOnly: true}}
	app.ReadinessProbe = &core.Probe{ProbeHandler: core.ProbeHandler{HTTPGet: &core.HTTPGetAction{Port: intstr.FromString("http")}}, PeriodSeconds: 1}
	pod, err := client.CoreV1().Pods("default").Create(t.Context(), &core.Pod{
		ObjectMeta: meta.ObjectMeta{Name: name, Labels: map[string]string{"app": "probe"}},
		Spec: core.PodSpec{
			ServiceAccountName: "test-sa", NodeName: node, Hostname: name, Subdomain: "headless",
			TerminationGracePeriodSeconds: new(int64),
			Containers:                    []core.Container{app},
			Volumes: []core.Volume{{Name: "token", VolumeSource: core.VolumeSource{Projected: &core.ProjectedVolumeSource{
				Sources: []core.VolumeProjection{{ServiceAccountToken: &core.ServiceAccountTokenProjection{
					Audience: "pods.eks.amazonaws.com", ExpirationSeconds: &expires, Path: filepath.Base(tokenPath),
				}}},
			}}}},
		},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

func awaitRunning(t *testing.T, client kubernetes.Interface, pod *core.Pod) (running *core.Pod) {
	t.Helper()
	eventually(t, pod.Name+" runs", func(ctx context.Context) (err error) {
		if running, err = client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, meta.GetOptions{}); err != nil {
			return err
		}
		for _, condition := range running.Status.Conditions {
			if condition.Type == core.PodReady && condition.Status == core.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("%s: %+v", running.Status.Phase, running.Status.ContainerStatuses)
	})
	return running
}

func makeServices(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	for name, address := range map[string]string{"headless": core.ClusterIPNone, "balanced": ""} {
		_, err := client.CoreV1().Services("default").Create(t.Context(), &core.Service{
			ObjectMeta: meta.ObjectMeta{Name: name},
			Spec: core.ServiceSpec{
				ClusterIP: address, Selector: map[string]string{"app": "probe"},
				Ports: []core.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}},
			},
		}, meta.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func kubectl(t *testing.T, c *kube.Cluster, args ...string) string {
	t.Helper()
	out, err := c.Kubectl(t.Context(), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func execIn(t *testing.T, c *kube.Cluster, pod string, args ...string) string {
	t.Helper()
	return strings.TrimSpace(kubectl(t, c, append([]string{"exec", pod, "--", "/probe"}, args...)...))
}

// eventuallyExec runs a probe in a pod, whatever its exit status, until its output is right.
func eventuallyExec(t *testing.T, c *kube.Cluster, pod string, right func(string) bool, args ...string) {
	t.Helper()
	eventually(t, "probe "+strings.Join(args, " "), func(ctx context.Context) error {
		out, _ := c.Kubectl(ctx, append([]string{"exec", pod, "--", "/probe"}, args...)...).CombinedOutput()
		if !right(string(out)) {
			return errors.New(string(out))
		}
		return nil
	})
}

func projectedToken(t *testing.T, c *kube.Cluster, client kubernetes.Interface, pod *core.Pod) {
	claims := verify(t, c.ControlPlane, execIn(t, c, pod.Name, "cat", tokenPath))
	node, err := client.CoreV1().Nodes().Get(t.Context(), pod.Spec.NodeName, meta.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if claims.Kubernetes.Pod != (named{pod.Name, string(pod.UID)}) || claims.Kubernetes.Node != (named{node.Name, string(node.UID)}) {
		t.Errorf("claims %+v", claims.Kubernetes)
	}
}

func reachEachOther(t *testing.T, c *kube.Cluster, one, two, three *core.Pod) {
	for _, way := range [][2]*core.Pod{{one, two}, {two, one}, {one, three}} {
		from, to := way[0], way[1]
		want := to.Name + " for " + from.Status.PodIP
		if got := execIn(t, c, from.Name, "get", "http://"+to.Status.PodIP+":8080/"); got != want {
			t.Errorf("%s asks %s: %q, want %q", from.Name, to.Name, got, want)
		}
	}
}

func names(t *testing.T, c *kube.Cluster, client kubernetes.Interface, one, two *core.Pod) {
	balanced, err := client.CoreV1().Services("default").Get(t.Context(), "balanced", meta.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"balanced":                           {balanced.Spec.ClusterIP},
		"balanced.default.svc.cluster.local": {balanced.Spec.ClusterIP},
		"headless.default":                   {one.Status.PodIP, two.Status.PodIP},
		"two.headless":                       {two.Status.PodIP},
		"kubernetes.default":                 {"10.96.0.1"},
		"sts.test.podid.dev":                 {kube.Gateway},
		"no-such-service.default":            {"no such host"},
		"three.balanced":                     {"no such host"},
		"amazonaws.com":                      {"no such host"},
	} {
		eventuallyExec(t, c, "one", func(out string) bool {
			for _, text := range want {
				if !strings.Contains(out, text) {
					return false
				}
			}
			return true
		}, "lookup", name)
	}
}

func services(t *testing.T, c *kube.Cluster) {
	seen := map[string]bool{}
	eventuallyExec(t, c, "one", func(out string) bool {
		if name, _, ok := strings.Cut(out, " for "); ok {
			seen[name] = true
		}
		return len(seen) == 3
	}, "get", "http://balanced/")
}

func listening(t *testing.T, c *kube.Cluster) {
	l, err := c.Network.Listen("tcp", net.JoinHostPort(kube.Gateway, "80"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello ", r.Host) })}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	if out := execIn(t, c, "two", "get", "http://sts.test.podid.dev/"); out != "hello sts.test.podid.dev" {
		t.Errorf("%q", out)
	}
}

func dialing(t *testing.T, c *kube.Cluster, pod *core.Pod) {
	client := &http.Client{Transport: &http.Transport{DialContext: c.Network.DialContext, DisableKeepAlives: true}}
	res, err := client.Get("http://" + net.JoinHostPort(pod.Status.PodIP, "8080"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err != nil || strings.TrimSpace(string(text)) != "one for "+kube.Gateway {
		t.Errorf("%q, %v", text, err)
	}
}

func serviceRecords(t *testing.T, c *kube.Cluster) {
	for _, network := range []string{"udp", "tcp"} {
		conn, err := c.Network.DialContext(t.Context(), network, net.JoinHostPort(kube.Gateway, "53"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		question := new(dns.Msg).SetQuestion("_http._tcp.balanced.default.svc.cluster.local.", dns.TypeSRV)
		answer, _, err := new(dns.Client).ExchangeWithConn(question, &dns.Conn{Conn: conn})
		if err != nil {
			t.Fatal(err)
		}
		if len(answer.Answer) != 1 {
			t.Fatalf("%s: %v", network, answer)
		}
		if srv, ok := answer.Answer[0].(*dns.SRV); !ok || srv.Port != 80 || srv.Target != "balanced.default.svc.cluster.local." {
			t.Errorf("%s: %v", network, answer.Answer)
		}
	}
}

// serviceWebhook has the API server find a webhook by its service, as it finds podid's; the service's endpoint is the test.
func serviceWebhook(t *testing.T, c *kube.Cluster, client kubernetes.Interface) {
	l, err := c.Network.Listen("tcp", net.JoinHostPort(kube.Gateway, "8443"))
	if err != nil {
		t.Fatal(err)
	}
	serveHook(t, c.ControlPlane, l, "hook.default.svc")
	_, err = client.CoreV1().Services("default").Create(t.Context(), &core.Service{
		ObjectMeta: meta.ObjectMeta{Name: "hook"},
		Spec:       core.ServiceSpec{Ports: []core.ServicePort{{Port: 443, TargetPort: intstr.FromInt32(8443)}}},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	port, unnamed := int32(8443), ""
	_, err = client.DiscoveryV1().EndpointSlices("default").Create(t.Context(), &discovery.EndpointSlice{
		ObjectMeta:  meta.ObjectMeta{Name: "hook", Labels: map[string]string{discovery.LabelServiceName: "hook"}},
		AddressType: discovery.AddressTypeIPv4,
		Endpoints:   []discovery.Endpoint{{Addresses: []string{kube.Gateway}}},
		Ports:       []discovery.EndpointPort{{Name: &unnamed, Port: &port}},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	callHook(t, client, admissionregistration.WebhookClientConfig{
		Service: &admissionregistration.ServiceReference{Namespace: "default", Name: "hook"}, CABundle: c.CA(),
	})
}

// daemonSet is what podid-agent will be: on the node's network, not root, on port 80 by a file
// capability, in an image that the test makes, with cluster names.
func daemonSet(t *testing.T, c *kube.Cluster, client kubernetes.Interface) {
	program := filepath.Join(t.TempDir(), "probe")
	if err := kube.BuildProgram(t.Context(), "", "./probe", program); err != nil {
		t.Fatal(err)
	}
	// cap_net_bind_service, permitted and effective, as struct vfs_cap_data of revision 2.
	bindLowPorts := string([]byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	image := kube.Image{
		Name: "podid.test/agent:1", User: "65532:65532", Entrypoint: []string{"/probe"},
		Files: []kube.File{{Path: "/probe", Source: program, Xattrs: map[string]string{"security.capability": bindLowPorts}}},
	}
	if err := c.AddImage(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	app := probe("serve", ":80")
	app.Image = image.Name
	app.SecurityContext = &core.SecurityContext{
		AllowPrivilegeEscalation: new(bool), RunAsNonRoot: new(true),
		Capabilities: &core.Capabilities{Drop: []core.Capability{"ALL"}, Add: []core.Capability{"NET_BIND_SERVICE"}},
	}
	labels := map[string]string{"app": "agent"}
	_, err := client.AppsV1().DaemonSets("default").Create(t.Context(), &apps.DaemonSet{
		ObjectMeta: meta.ObjectMeta{Name: "agent"},
		Spec: apps.DaemonSetSpec{
			Selector: &meta.LabelSelector{MatchLabels: labels},
			Template: core.PodTemplateSpec{
				ObjectMeta: meta.ObjectMeta{Labels: labels},
				Spec:       core.PodSpec{HostNetwork: true, DNSPolicy: core.DNSClusterFirstWithHostNet, Containers: []core.Container{app}},
			},
		},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range c.Nodes() {
		eventuallyExec(t, c, "one", func(out string) bool { return strings.HasPrefix(out, node.Name+" for ") }, "get", "http://"+node.IP+"/")
	}
	pods, err := client.CoreV1().Pods("default").List(t.Context(), meta.ListOptions{LabelSelector: "app=agent"})
	if err != nil || len(pods.Items) != 2 {
		t.Fatalf("%v, %d pods", err, len(pods.Items))
	}
	if out := execIn(t, c, pods.Items[0].Name, "lookup", "kubernetes.default"); out != "10.96.0.1" {
		t.Errorf("the cluster's names on the node's network: %q", out)
	}
}

func deployment(t *testing.T, client kubernetes.Interface) {
	replicas := int32(2)
	labels := map[string]string{"app": "deployed"}
	made, err := client.AppsV1().Deployments("default").Create(t.Context(), &apps.Deployment{
		ObjectMeta: meta.ObjectMeta{Name: "deployed"},
		Spec: apps.DeploymentSpec{
			Replicas: &replicas, Selector: &meta.LabelSelector{MatchLabels: labels},
			Template: core.PodTemplateSpec{
				ObjectMeta: meta.ObjectMeta{Labels: labels},
				Spec: core.PodSpec{
					Containers: []core.Container{probe("sleep")},
					TopologySpreadConstraints: []core.TopologySpreadConstraint{{
						MaxSkew: 1, TopologyKey: core.LabelHostname, WhenUnsatisfiable: core.DoNotSchedule,
						LabelSelector: &meta.LabelSelector{MatchLabels: labels},
					}},
				},
			},
		},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "both replicas run", func(ctx context.Context) error {
		now, err := client.AppsV1().Deployments("default").Get(ctx, made.Name, meta.GetOptions{})
		if err == nil && now.Status.ReadyReplicas != replicas {
			err = fmt.Errorf("%+v", now.Status)
		}
		return err
	})
}

// linkLocal shows what the agent will need: an address that pods of a node reach at that node, and no other pod does.
func linkLocal(t *testing.T, c *kube.Cluster) {
	nodes := c.Nodes()
	if out, err := nodes[0].Command(t.Context(), "ip", "address", "add", "169.254.170.23/32", "dev", "lo").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out := execIn(t, c, "one", "get", "http://169.254.170.23/v1/credentials"); !strings.HasPrefix(out, "node1 for 10.88.1.") {
		t.Errorf("a pod of the node: %q", out)
	}
	out, err := c.Kubectl(t.Context(), "exec", "two", "--", "/probe", "get", "http://169.254.170.23/v1/credentials").CombinedOutput()
	if err == nil {
		t.Errorf("a pod of the other node: %s", out)
	}
}

// linkLocal6 shows the agent's other address; pods have IPv4 alone, so one on the node's network asks.
func linkLocal6(t *testing.T, c *kube.Cluster, client kubernetes.Interface) {
	kube.NeedIPv6(t)
	if out, err := c.Nodes()[0].Command(t.Context(), "ip", "address", "add", "fd00:ec2::23/128", "dev", "lo").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	agents, err := client.CoreV1().Pods("default").List(t.Context(), meta.ListOptions{LabelSelector: "app=agent", FieldSelector: "spec.nodeName=node1"})
	if err != nil || len(agents.Items) != 1 {
		t.Fatalf("%v, %d pods", err, len(agents.Items))
	}
	if out := execIn(t, c, agents.Items[0].Name, "get", "http://[fd00:ec2::23]/v1/credentials"); out != "node1 for fd00:ec2::23" {
		t.Errorf("%q", out)
	}
}

func withoutAPIServer(t *testing.T, c *kube.Cluster, client kubernetes.Interface, one *core.Pod) {
	c.StopAPIServer()
	dialing(t, c, one)
	if _, err := client.CoreV1().Nodes().List(t.Context(), meta.ListOptions{}); err == nil {
		t.Error("an API server that is down answered")
	}
	if err := c.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out := execIn(t, c, "one", "get", "http://balanced/"); !strings.Contains(out, " for ") {
		t.Errorf("%q", out)
	}
	for _, node := range c.Nodes() {
		if log, err := node.Log("kubelet"); err != nil || !strings.Contains(log, "Starting kubelet") {
			t.Errorf("the kubelet's log of %s: %v, %d bytes", node.Name, err, len(log))
		}
	}
}

func loseANode(t *testing.T, c *kube.Cluster, client kubernetes.Interface, one *core.Pod) {
	if err := c.Nodes()[1].Stop(); err != nil {
		t.Fatal(err)
	}
	if got := len(c.Nodes()); got != 1 {
		t.Errorf("%d nodes", got)
	}
	if out := execIn(t, c, "one", "get", "http://"+one.Status.PodIP+":8080/"); !strings.HasPrefix(out, "one for ") {
		t.Errorf("the other node: %q", out)
	}
	if _, err := c.StartNode(t.Context(), kube.NodeOptions{Labels: map[string]string{"fresh": "yes"}}); err != nil {
		t.Fatal(err)
	}
	found, err := client.CoreV1().Nodes().List(t.Context(), meta.ListOptions{LabelSelector: "fresh=yes"})
	if err != nil || len(found.Items) != 1 || found.Items[0].Name != "node4" {
		t.Errorf("%v, %v", found, err)
	}
}

// hostState is what of the machine a cluster could leave changed.
func hostState(t *testing.T) string {
	t.Helper()
	cache, err := kube.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, name := range []string{
		"/proc/net/dev", "/proc/net/route", "/proc/self/mounts", "/proc/sys/net/ipv4/ip_forward",
		"/proc/sys/vm/overcommit_memory", "/proc/sys/vm/panic_on_oom", "/proc/sys/kernel/panic",
		"/proc/sys/kernel/panic_on_oops", "/proc/sys/kernel/keys/root_maxkeys", "/proc/sys/kernel/hostname",
	} {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		fmt.Fprintf(&out, "%s:\n", name)
		for line := range strings.Lines(string(text)) {
			if name == "/proc/net/dev" { // the counters move by themselves
				line, _, _ = strings.Cut(line, ":")
			}
			fmt.Fprintln(&out, strings.TrimSpace(line))
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*/podid-kube-*", "/sys/fs/cgroup/podid-kube-*", "/run/netns/*", "/var/lib/kubelet", "/var/lib/containerd", "/run/containerd", "/var/lib/cni", "/etc/cni", "/opt/cni", "/var/log/pods"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range found {
			// A group whose run folder is there is another living cluster's.
			_, id, ours := strings.Cut(filepath.Base(name), "podid-kube-")
			if _, err := os.Stat(filepath.Join(cache, "run", id)); !ours || err != nil {
				fmt.Fprintln(&out, name)
			}
		}
	}
	return out.String()
}
