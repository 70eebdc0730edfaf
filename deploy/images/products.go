package main

// product is a program that runs in a cluster, and its image.
type product struct {
	name string
	// outside says that it talks to AWS, whose authorities it needs.
	outside bool
	// copies are the program's files in the image, each with the file capability that
	// lets it do one thing without being root.
	copies []programFile
}

type programFile struct{ path, capability string }

// products are the images. The agent's program is there twice: a process that may not
// have all capabilities of its file does not start, so serving port 80 and setting addresses, which have
// nothing in common but the program, get a file each.
var products = []product{
	{name: "podid-auth", outside: true, copies: []programFile{{path: "/podid-auth"}}},
	{name: "podid-webhook", copies: []programFile{{path: "/podid-webhook"}}},
	{name: "podid-agent", outside: true, copies: []programFile{
		{"/podid-agent", capNetBindService},
		{"/podid-agent-address", capNetAdmin},
	}},
}

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
	for _, copied := range p.copies {
		files = append(files, file{path: copied.path, source: binary, mode: 0o755, capability: copied.capability})
	}
	return files
}
