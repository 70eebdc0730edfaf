// Package reconcile is what one replica of podid-auth, the leader, does for all: it keeps
// what others read, and says what is wrong. Nothing that hands out credentials waits for
// it: without a leader pods get their roles all the same.
//
//   - certificates.go keeps podid's certificate authority, publishes it, and issues what
//     podid-auth and podid-webhook serve with;
//   - status.go writes the status of associations;
//   - pods.go tells pods, by Events, why they have no access to their role;
//   - agents.go tells pods on whose node no agent is ready;
//   - accounts.go tells service accounts when their annotation has no effect;
//   - where annotations bind roles, it keeps the record of those that nobody checked
//     (internal/association/annotation);
//   - nodes.go lifts the startup taint from nodes whose agent is ready.
//
// # Permissions
//
// In the cluster:
//
//	podid.dev                     podidentityassociations                get, list, watch
//	podid.dev                     podidentityassociations/status         patch
//	""                            pods                                   get, list, watch
//	""                            events                                 create
//	""                            serviceaccounts                        get, list, watch    with Settings.Annotations
//	""                            nodes                                  get, list, watch, patch    with Settings.StartupTaint
//	admissionregistration.k8s.io  mutatingwebhookconfigurations [podid]  get, list, watch, patch
//	admissionregistration.k8s.io  validatingadmissionpolicies, validatingadmissionpolicybindings
//	                              [pass-role-annotation.podid.dev]       get    with Settings.Annotations
//
// In podid's own namespace:
//
//	coordination.k8s.io  leases                     create
//	coordination.k8s.io  leases [podid-auth]        get, update
//	""                   secrets, configmaps        create
//	""                   secrets [podid-ca, podid-auth-tls, podid-webhook-tls]    get, update
//	""                   configmaps [podid-ca]      get, list, watch, patch
//	""                   configmaps [podid-annotations]    get, update    with Settings.Annotations
package reconcile
