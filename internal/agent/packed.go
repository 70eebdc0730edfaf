package agent

import (
	"encoding/base64"
	"strings"
	"unique"
)

// packed is a token as it is kept to renew with: in three quarters of its length, and
// with its header, the same for all tokens that one key signed, kept once. Tokens are a third
// of what a workload takes.
type packed struct {
	header  unique.Handle[string]
	payload int    // its length, in data
	data    []byte // payload and signature; the token itself if it does not unpack to the same
}

func pack(raw string) packed {
	header, rest, _ := strings.Cut(raw, ".")
	payload, signature, ok := strings.Cut(rest, ".")
	if ok {
		data, err := base64.RawURLEncoding.AppendDecode(make([]byte, 0, len(rest)*3/4), []byte(payload))
		if err == nil {
			n := len(data)
			data, err = base64.RawURLEncoding.AppendDecode(data, []byte(signature))
			p := packed{unique.Make(header), n, data}
			if err == nil && n > 0 && p.String() == raw {
				return p
			}
		}
	}
	return packed{data: []byte(raw)}
}

// String is the token, "" if there is none.
func (p packed) String() string {
	if p.payload == 0 {
		return string(p.data)
	}
	return p.header.Value() + "." + base64.RawURLEncoding.EncodeToString(p.data[:p.payload]) +
		"." + base64.RawURLEncoding.EncodeToString(p.data[p.payload:])
}
