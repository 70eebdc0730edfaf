package injection

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/openpodidentity/podid"
)

// IRSA's token, as the EKS webhook mounts it
// (https://docs.aws.amazon.com/eks/latest/userguide/pod-configuration.html).
const (
	irsaVolume    = "aws-iam-token"
	irsaTokenPath = "token"
	irsaAudience  = "sts.amazonaws.com"
	irsaMountPath = "/var/run/secrets/eks.amazonaws.com/serviceaccount"

	envRoleARN         = "AWS_ROLE_ARN"
	envWebIdentityFile = "AWS_WEB_IDENTITY_TOKEN_FILE"
)

// Variables that SDKs look at before the container credentials
// (https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html).
const (
	envAccessKeyID = "AWS_ACCESS_KEY_ID"
	envRelativeURI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
)

// minExpiration is the least the API server takes.
const minExpiration = 600

// gift is what the containers of a pod get.
type gift struct {
	volume, tokenPath, audience, mountPath string
	// variables in their order, in groups that go together; the last group
	// points at the token.
	variables [][]Variable
	// label says that the pod is marked.
	label bool
	// address is whom SDKs ask with it, if that is podid.
	address netip.Addr
}

func giftFor(account Account, settings Settings, w *warnings) (*gift, Reason) {
	common := [][]Variable{regions(settings.Region)}
	if stsRegional(account, settings, w) {
		common = slices.Insert(common, 0, []Variable{{EnvSTSRegionalEndpoints, "regional"}})
	}
	if account.Association != nil {
		uri, address := CredentialsURI, agent
		if settings.IPv6 {
			uri, address = CredentialsURIIPv6, agentIPv6
		}
		return &gift{volume: Volume, tokenPath: TokenPath, audience: Audience, mountPath: MountPath, label: true, address: address,
			variables: append(common, []Variable{{EnvCredentialsURI, uri}, {EnvTokenFile, TokenFile}})}, ""
	}
	annotated, ok := account.Annotations[AnnotationRole]
	if !settings.IRSA || !ok {
		return nil, NoAssociation
	}
	role, err := podid.ParseRoleARN(annotated)
	if err != nil {
		w.add("the service account's annotation %s is no role: %v", AnnotationRole, err)
		return nil, RoleInvalid
	}
	audience := irsaAudience
	if own := account.Annotations[AnnotationAudience]; own != "" {
		audience = own
	}
	return &gift{volume: irsaVolume, tokenPath: irsaTokenPath, audience: audience, mountPath: irsaMountPath,
		variables: append(common, []Variable{{envRoleARN, string(role)}, {envWebIdentityFile, irsaMountPath + "/" + irsaTokenPath}})}, ""
}

func stsRegional(account Account, settings Settings, w *warnings) bool {
	text, ok := account.Annotations[AnnotationSTSRegional]
	if !ok {
		return !settings.GlobalSTS
	}
	regional, err := strconv.ParseBool(text)
	if err != nil {
		w.add("the service account's annotation %s is %q, and neither true nor false: it is ignored", AnnotationSTSRegional, text)
		return !settings.GlobalSTS
	}
	return regional
}

// expiration of the token: the pod's word, or its service account's.
func expiration(pod *corev1.Pod, account Account, w *warnings) int64 {
	for _, of := range []struct {
		whose       string
		annotations map[string]string
	}{{"pod", pod.Annotations}, {"service account", account.Annotations}} {
		text, ok := of.annotations[AnnotationExpiration]
		if !ok {
			continue
		}
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			w.add("the %s's annotation %s is %q, and no number of seconds: it is ignored", of.whose, AnnotationExpiration, text)
			continue
		}
		if seconds < minExpiration || seconds > TokenExpirationSeconds {
			clamped := min(max(seconds, minExpiration), TokenExpirationSeconds)
			w.add("the %s's annotation %s is %d, and not from %d to %d: it is taken as %d",
				of.whose, AnnotationExpiration, seconds, minExpiration, TokenExpirationSeconds, clamped)
			return clamped
		}
		return seconds
	}
	return TokenExpirationSeconds
}

// volumeOf looks for the volume in a pod: it is there, or its name is taken by
// another, or neither.
func (g *gift) volumeOf(pod *corev1.Pod) (there, taken bool) {
	i := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == g.volume })
	if i < 0 {
		return false, false
	}
	projected := pod.Spec.Volumes[i].Projected
	there = projected != nil && slices.ContainsFunc(projected.Sources, func(s corev1.VolumeProjection) bool {
		t := s.ServiceAccountToken
		return t != nil && t.Audience == g.audience && t.Path == g.tokenPath
	})
	return there, !there
}

func (g *gift) projected(seconds int64) corev1.Volume {
	return corev1.Volume{Name: g.volume, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
			Audience: g.audience, ExpirationSeconds: &seconds, Path: g.tokenPath,
		}}},
	}}}
}

// fill gives the containers of pod, which it changes, variables and mounts.
// Ephemeral containers come later, and can have no mounts that the pod has not.
func (g *gift) fill(pod *corev1.Pod, w *warnings) []Container {
	skip := skipped(pod)
	var all []Container
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			c := &containers[i]
			if skip[c.Name] {
				all = append(all, Container{Name: c.Name, Reason: SkipListed})
				continue
			}
			all = append(all, g.fillOne(c, w))
		}
	}
	return all
}

func (g *gift) fillOne(c *corev1.Container, w *warnings) Container {
	result := Container{Name: c.Name}
	there, taken := g.mountOf(c)
	if taken {
		w.add("container %q mounts something else at %s: it gets no AWS credentials", c.Name, g.mountPath)
		result.Reason = MountTaken
		return result
	}
	g.warn(c, w)
	if !there {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: g.volume, MountPath: g.mountPath, ReadOnly: true})
		result.changed = true
	}
	present := make([]string, len(c.Env))
	for i := range c.Env {
		present[i] = c.Env[i].Name
	}
	for _, v := range missing(g.variables, present) {
		c.Env = append(c.Env, corev1.EnvVar{Name: v.Name, Value: v.Value})
		result.Added = append(result.Added, v.Name)
		result.changed = true
	}
	return result
}

// mountOf looks for the mount in a container: it is there, or its place is
// taken by another (the API server refuses pods with two), or neither.
func (g *gift) mountOf(c *corev1.Container) (there, taken bool) {
	for _, m := range c.VolumeMounts {
		if at(m.MountPath, g.mountPath) {
			there = m.Name == g.volume && m.SubPath == "" && m.SubPathExpr == ""
			return there, !there
		}
	}
	return false, slices.ContainsFunc(c.VolumeDevices, func(d corev1.VolumeDevice) bool { return at(d.DevicePath, g.mountPath) })
}

// warn says what of the container's own variables keeps its SDK from asking.
func (g *gift) warn(c *corev1.Container, w *warnings) {
	for _, text := range g.shadowsOf(c) {
		w.add("%s", text)
	}
	if !g.address.IsValid() {
		return
	}
	if name := proxied(c, g.address); name != "" {
		w.add("container %q sets %s, and no NO_PROXY lists %s: its SDK may send the token to the proxy, and get no credentials", c.Name, name, g.address)
	}
}

// shadowsOf says which of the container's own variables keep its SDK from asking podid.
func (g *gift) shadowsOf(c *corev1.Container) (texts []string) {
	add := func(format string, args ...any) { texts = append(texts, fmt.Sprintf(format, args...)) }
	pair := g.variables[len(g.variables)-1]
	web := pair[0].Name == envRoleARN
	for _, e := range c.Env {
		if e.Value == "" && e.ValueFrom == nil {
			continue // for SDKs the same as unset
		}
		switch {
		case e.Name == envAccessKeyID:
			add("container %q sets %s: its SDK uses that key, and not the role of its service account", c.Name, e.Name)
		case e.Name == envWebIdentityFile && !web:
			add("container %q sets %s (IRSA): its SDK uses that, and not pod identity", c.Name, e.Name)
		case e.Name == envRelativeURI && !web:
			add("container %q sets %s: its SDK asks there, and not podid", c.Name, e.Name)
		}
	}
	if name, own := ownOf(c, pair); own {
		add("container %q sets %s itself: podid leaves it as it is", c.Name, name)
	}
	return texts
}

// ownOf finds the variable of a pair that the container sets itself and not as it would
// be set, or that it sets alone: it then gets the other one from nobody.
func ownOf(c *corev1.Container, pair []Variable) (string, bool) {
	alone := ""
	set := 0
	for _, v := range pair {
		i := slices.IndexFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == v.Name })
		if i < 0 {
			continue
		}
		if !leadsToPodid(v, c.Env[i]) {
			return v.Name, true
		}
		alone = v.Name
		set++
	}
	return alone, set == 1
}

// leadsToPodid says that what the container sets is as good as what it would get: agents
// serve both of their addresses.
func leadsToPodid(v Variable, own corev1.EnvVar) bool {
	return own.Value == v.Value || v.Name == EnvCredentialsURI && (own.Value == CredentialsURI || own.Value == CredentialsURIIPv6)
}
