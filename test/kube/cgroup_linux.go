package kube

func removeGroups(string) error { return nil }
