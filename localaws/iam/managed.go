package iam

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// managedJSON are the AWS-managed policies that pods commonly use, as AWS's
// Managed Policy Reference gives them. A policy whose text is not known for
// certain, or too long to be worth carrying (ReadOnlyAccess), is left out.
//
// Source: https://docs.aws.amazon.com/aws-managed-policy/latest/reference/policy-list.html
//
//go:embed managed.json
var managedJSON []byte

// awsManaged parses them for a partition.
func awsManaged(partition string) (map[string]*ManagedPolicy, error) {
	var list []struct {
		Name     string
		Version  string
		Updated  time.Time
		Document json.RawMessage
	}
	if err := json.Unmarshal(managedJSON, &list); err != nil {
		return nil, fmt.Errorf("read AWS-managed policies: %w", err)
	}
	policies := make(map[string]*ManagedPolicy, len(list))
	for _, m := range list {
		p := &ManagedPolicy{
			Name: m.Name, Path: "/", ARN: "arn:" + partition + ":iam::aws:policy/" + m.Name,
			ID: managedID(m.Name), Version: m.Version, Updated: m.Updated,
			Document: Document{Text: strings.ReplaceAll(string(m.Document), `"arn:aws:`, `"arn:`+partition+`:`)},
		}
		if err := p.compile(); err != nil {
			return nil, err
		}
		policies[p.ARN] = p
	}
	return policies, nil
}

// managedID makes an ID of the name; AWS's real IDs are not published.
func managedID(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "ANPA" + base32.StdEncoding.EncodeToString(sum[:])[:17]
}
