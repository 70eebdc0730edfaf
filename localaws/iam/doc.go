// Package iam is the local AWS's IAM: roles, users, policies and access keys,
// and the question that every request of the local AWS comes to: may this
// caller do that?
//
// [State] keeps the account and knows no HTTP; [API] speaks the query protocol
// and knows no storage; [State.Authorize] puts the policies that apply to a
// request before policy.Evaluate and words the refusal as AWS does.
package iam
