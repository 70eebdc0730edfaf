//go:build unix

package kube

import (
	"fmt"
	"os"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// kubeconfig is one that holds its keys, so that it works from any folder.
func kubeconfig(server string, ca []byte, user pair) ([]byte, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters["podid-test"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	config.AuthInfos["user"] = &clientcmdapi.AuthInfo{ClientCertificateData: user.cert, ClientKeyData: user.key}
	config.Contexts["podid-test"] = &clientcmdapi.Context{Cluster: "podid-test", AuthInfo: "user"}
	config.CurrentContext = "podid-test"
	text, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("make a kubeconfig: %w", err)
	}
	return text, nil
}

func writeKubeconfig(path, server string, ca []byte, user pair) error {
	text, err := kubeconfig(server, ca, user)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

func restConfig(server string, ca []byte, user pair) *rest.Config {
	return &rest.Config{
		Host:            server,
		TLSClientConfig: rest.TLSClientConfig{CAData: ca, CertData: user.cert, KeyData: user.key},
		// client-go's limit of 5 requests a second is for controllers.
		QPS: -1,
	}
}
