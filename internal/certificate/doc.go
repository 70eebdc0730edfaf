// Package certificate is podid's own certificate authority, and the certificates that
// podid-auth and podid-webhook serve with.
//
// Whoever connects to them trusts a bundle of authorities: agents have it from a
// ConfigMap, which the kubelet brings into a pod within a minute or two; the API server
// from the webhook's configuration, which it reads at once or a moment later. So a change
// of the authority has three steps, with time between them:
//
//  1. a new authority is made and published in the bundle, beside the one that issues;
//  2. once whoever reads the bundle has surely read it (Rotation.Settle), the new one
//     issues: serving certificates are replaced, and the old authority's key is destroyed;
//  3. when nothing that the old one issued can be valid any more (Rotation.Serving), it
//     leaves the bundle.
//
// At no moment does anybody meet a certificate that the bundle they have does not
// explain. [Rotation] decides, given what there is and the time, and knows neither a
// clock nor a cluster; [Store] keeps it in Secrets; [Source] serves what a Secret has.
package certificate
