package main

// product is a program that runs in a cluster, and its image.
type product struct {
	name string
	// outside says that it talks to AWS, whose authorities it needs.
	outside bool
	// capability is the one of the program's file, which lets it do one thing without being root;
	// "" is none.
	capability string
}

// products are the images.
var products = []product{
	{name: "podid-auth", outside: true},
	{name: "podid-webhook"},
	{name: "podid-agent", outside: true, capability: capNetBindService},
	{name: "podid-address", capability: capNetAdmin},
}

// path is where the program is in its image.
func (p product) path() string { return "/" + p.name }

// File capabilities, permitted and effective, as struct vfs_cap_data of revision 2 in
// linux/capability.h: the words are little-endian, bit 10 is net_bind_service, bit 12 net_admin.
const (
	capNetBindService = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	capNetAdmin       = "\x01\x00\x00\x02\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
)

// files are those of the product's image, for the binary of one architecture.
func (p product) files(binary string, authorities []byte) []file {
	var files []file
	if p.outside && authorities != nil {
		files = append(files, file{path: "/etc/ssl/certs/ca-certificates.crt", content: authorities, mode: 0o644})
	}
	return append(files, file{path: p.path(), source: binary, mode: 0o755, capability: p.capability})
}
