//go:build unix

package kube

import (
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// writeKubeconfig writes a kubeconfig that holds its keys, so that it works from any folder.
func writeKubeconfig(path, server string, ca []byte, user pair) error {
	config := clientcmdapi.NewConfig()
	config.Clusters["podid-test"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	config.AuthInfos["user"] = &clientcmdapi.AuthInfo{ClientCertificateData: user.cert, ClientKeyData: user.key}
	config.Contexts["podid-test"] = &clientcmdapi.Context{Cluster: "podid-test", AuthInfo: "user"}
	config.CurrentContext = "podid-test"
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}

func restConfig(server string, ca []byte, user pair) *rest.Config {
	return &rest.Config{
		Host:            server,
		TLSClientConfig: rest.TLSClientConfig{CAData: ca, CertData: user.cert, KeyData: user.key},
		// client-go's limit of 5 requests a second is for controllers.
		QPS: -1,
	}
}
