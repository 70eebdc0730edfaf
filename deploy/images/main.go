// Command images builds podid's programs and makes container images of them from
// nothing: no base image, no registry and no container tool. An image is an archive in
// the OCI layout with every architecture in it, which containerd, k3s, kind, skopeo and
// docker take.
//
// The same sources, Go and certificates give the same bytes. It is a module of its own, so that the product
// never depends on a container library.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// options are the flags.
type options struct {
	source, out   string
	registry, tag string
	version       string
	archs, only   []string
	certificates  string
}

func main() {
	var o options
	var archs, only string
	flag.StringVar(&o.source, "source", "../..", "the folder of podid's sources")
	flag.StringVar(&o.out, "out", "../../dist/images", "where the archives go")
	flag.StringVar(&o.registry, "registry", "ghcr.io/openpodidentity", "what the images' names begin with")
	flag.StringVar(&o.tag, "tag", "", "the images' tag; empty: the chart's appVersion, which install.yaml asks for")
	flag.StringVar(&o.version, "version", "unknown", "the programs' version")
	flag.StringVar(&archs, "archs", "amd64,arm64", "architectures")
	flag.StringVar(&only, "only", "", "programs, such as podid-agent; empty: all")
	flag.StringVar(&o.certificates, "certificates", "", "PEM file of the authorities that AWS is known by; empty: this machine's; none")
	flag.Parse()
	o.archs, o.only = words(archs), words(only)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func (o options) run(ctx context.Context) error {
	if o.tag == "" {
		var err error
		if o.tag, err = appVersion(filepath.Join(o.source, "deploy/chart/Chart.yaml")); err != nil {
			return err
		}
	}
	authorities, from, err := certificates(o.certificates)
	if err != nil {
		return err
	}
	fmt.Println("certificates of AWS:", from)
	programs := filepath.Join(o.out, "programs")
	if err := os.MkdirAll(programs, 0o755); err != nil {
		return err
	}
	for _, p := range products {
		if len(o.only) > 0 && !slices.Contains(o.only, p.name) {
			continue
		}
		start := time.Now()
		var platforms []platform
		for _, arch := range o.archs {
			fmt.Printf("%s %s: building\n", p.name, arch)
			binary := filepath.Join(programs, p.name+"-"+arch)
			if err := build(ctx, o.source, "./cmd/"+p.name, binary, arch, o.version); err != nil {
				return fmt.Errorf("build %s for %s: %w", p.name, arch, err)
			}
			platforms = append(platforms, platform{arch, p.files(binary, authorities)})
		}
		name := o.registry + "/" + p.name + ":" + o.tag
		archive := filepath.Join(o.out, p.name+".tar")
		digest, size, err := write(archive, name, p, platforms)
		if err != nil {
			return fmt.Errorf("image %s: %w", name, err)
		}
		fmt.Printf("%s: %s, %s, %.1f MB, %s\n", name, archive, digest, float64(size)/1e6, time.Since(start).Round(time.Second))
	}
	return nil
}
