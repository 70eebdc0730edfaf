package iam

import (
	"slices"
	"strings"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/journal"
	"github.com/openpodidentity/podid/localaws/internal/constraint"
)

// Tag adds tags to a role or user; a key that differs in case alone is the same.
func (s *State) Tag(kind Kind, name string, tags []podid.Tag) error {
	_, err := s.update(kind, name, func(i *Identity) (err error) {
		i.Tags, err = addTags(i.Tags, tags)
		return err
	})
	return err
}

// Untag removes tags; keys that are not there are ignored.
func (s *State) Untag(kind Kind, name string, keys []string) error {
	_, err := s.update(kind, name, func(i *Identity) error {
		i.Tags = removeTags(i.Tags, keys)
		return nil
	})
	return err
}

// TagPolicy and UntagPolicy change the tags of a customer managed policy.
func (s *State) TagPolicy(arn string, tags []podid.Tag) error {
	return s.updatePolicy(arn, func(p *ManagedPolicy) (err error) {
		p.Tags, err = addTags(p.Tags, tags)
		return err
	})
}

// UntagPolicy removes tags; keys that are not there are ignored.
func (s *State) UntagPolicy(arn string, keys []string) error {
	return s.updatePolicy(arn, func(p *ManagedPolicy) error {
		p.Tags = removeTags(p.Tags, keys)
		return nil
	})
}

func (s *State) updatePolicy(arn string, change func(*ManagedPolicy) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	old, err := s.customerPolicy(arn)
	if err != nil {
		return err
	}
	next := *old
	next.Tags = slices.Clone(old.Tags)
	if err := change(&next); err != nil {
		return err
	}
	return s.commit(func() { s.policies[fold(next.Name)] = &next }, journal.Put(policyPrefix+fold(next.Name), &next))
}

func addTags(old, added []podid.Tag) ([]podid.Tag, error) {
	merged := mergeTags(old, added)
	if len(merged) > constraint.MaxTags {
		return nil, limitExceeded("The number of tags has reached the maximum limit of %d.", constraint.MaxTags)
	}
	return merged, nil
}

// mergeTags is old with added over it, sorted by key.
func mergeTags(old, added []podid.Tag) []podid.Tag {
	merged := slices.Clone(old)
	for _, tag := range added {
		at := slices.IndexFunc(merged, func(t podid.Tag) bool { return constraint.SameKey(t.Key, tag.Key) })
		if at < 0 {
			merged = append(merged, tag)
		} else {
			merged[at] = tag
		}
	}
	slices.SortFunc(merged, func(a, b podid.Tag) int { return strings.Compare(constraint.FoldKey(a.Key), constraint.FoldKey(b.Key)) })
	return merged
}

func removeTags(tags []podid.Tag, keys []string) []podid.Tag {
	return slices.DeleteFunc(tags, func(t podid.Tag) bool {
		return slices.ContainsFunc(keys, func(k string) bool { return constraint.SameKey(t.Key, k) })
	})
}
