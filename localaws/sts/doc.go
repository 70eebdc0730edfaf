// Package sts is the local AWS's STS: it trades a caller's credentials for those
// of a role session (AssumeRole) or of the user (GetSessionToken), and tells who
// a caller is.
//
// A session token is self-contained: [State] seals into it what the session is,
// and derives the secret access key from the access key ID, so that nothing is
// kept per session and sessions outlive a restart.
package sts
