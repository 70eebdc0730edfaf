package kube

import (
	"os"
	"strconv"
)

func (cp *ControlPlane) writeKeys() (err error) {
	if cp.ca, err = newAuthority(); err != nil {
		return err
	}
	if err := os.WriteFile(cp.run.file("ca.crt"), cp.ca.pem, 0o600); err != nil {
		return err
	}
	hosts := []string{"localhost", "127.0.0.1", firstServiceIP, "kubernetes", "kubernetes.default",
		"kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	if cp.options.place != nil {
		hosts = append(hosts, cp.options.place.address)
	}
	serving, err := cp.ca.server("kube-apiserver", hosts...)
	if err != nil {
		return err
	}
	if err := serving.write(cp.run.path, "apiserver"); err != nil {
		return err
	}
	toKubelets, err := cp.ca.client("kube-apiserver-kubelet-client", "system:masters")
	if err != nil {
		return err
	}
	if err := toKubelets.write(cp.run.path, "kubelet-client"); err != nil {
		return err
	}
	if cp.admin, err = cp.ca.client("admin", "system:masters"); err != nil {
		return err
	}
	if err := writeKubeconfig(cp.Kubeconfig(), cp.server, cp.ca.pem, cp.admin); err != nil {
		return err
	}
	return cp.RotateSigningKey(false)
}

// RotateSigningKey makes a new key for service account tokens, which counts from the next start of the API
// server. With keepOld tokens signed by earlier keys go on to verify.
func (cp *ControlPlane) RotateSigningKey(keepOld bool) error {
	key, err := newSigningKey()
	if err != nil {
		return err
	}
	cp.mu.Lock()
	defer cp.mu.Unlock()
	cp.generation++
	if !keepOld {
		cp.verifying = nil
	}
	cp.verifying = append(cp.verifying, cp.generation)
	return os.WriteFile(cp.signingKey(cp.generation), key, 0o600)
}

// ForgetSigningKeys drops all keys for service account tokens but the newest n, from the next start of the API server on.
func (cp *ControlPlane) ForgetSigningKeys(n int) {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	cp.verifying = cp.verifying[max(0, len(cp.verifying)-n):]
}

// SigningKey is the newest key for service account tokens, in PEM: for tests that sign what no API server would.
func (cp *ControlPlane) SigningKey() ([]byte, error) {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	return os.ReadFile(cp.signingKey(cp.generation))
}

func (cp *ControlPlane) signingKey(generation int) string {
	return cp.run.file("token-" + strconv.Itoa(generation) + ".key")
}
