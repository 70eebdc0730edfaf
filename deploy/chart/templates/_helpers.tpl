{{- define "podid.labels" -}}
app.kubernetes.io/part-of: podid
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- if ne .Release.Service "podid" }}
app.kubernetes.io/instance: {{ .Release.Name }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
{{- end }}

{{- define "podid.image" -}}
{{ .root.Values.images.registry }}/{{ .name }}:{{ .root.Values.images.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- /* What every pod of podid has, and every container. */ -}}
{{- define "podid.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- /* Of the pods on the nodes' network: a user that nobody else is, by which an agent knows its successor and what holds its sockets. */ -}}
{{- define "podid.nodeSecurity" -}}
runAsNonRoot: true
runAsUser: 62703
runAsGroup: 62703
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "podid.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* A change of the settings is a new pod: programs read them at the start. Of the settings: other comments are no change. */ -}}
{{- define "podid.checksum" -}}
podid.dev/settings: {{ include "podid.data" . | fromYaml | toJson | sha256sum | trunc 16 | quote }}
{{- end }}

{{- define "podid.spread" -}}
{{- range $i, $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
{{- if $i }}
{{ end -}}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {app.kubernetes.io/name: {{ $.name }}}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}

{{- define "podid.env" -}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- end }}

{{- define "podid.startupToleration" -}}
- key: podid.dev/agent-not-ready
  operator: Exists
{{- end }}

{{- /* What is there after `helm uninstall`, until it has done its work; given is its weight. What it said is Helm's to say. */ -}}
{{- define "podid.afterwards" -}}
helm.sh/hook: post-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
helm.sh/hook-output-log-policy: hook-succeeded,hook-failed
{{- end }}

{{- /* The data of the ConfigMap podid: what is set, and what else there is. */ -}}
{{- define "podid.data" -}}
{{- $settings := .Values.settings -}}
# The cluster's name. Session tags and the EKS API's URLs carry it, trust policies are conditioned on it.
{{ with $settings.clusterName }}clusterName: {{ . | quote }}{{ else }}# clusterName: "prod-1"{{ end }}
# The AWS region.
{{ with $settings.region }}region: {{ . | quote }}{{ else }}# region: "eu-central-1"{{ end }}
# The AWS account that the cluster's ARN names.
{{ with $settings.account }}account: {{ . | quote }}{{ else }}# account: "111122223333"{{ end }}
# Another STS than AWS's.
{{ with $settings.stsEndpoint }}stsEndpoint: {{ . | quote }}{{ else }}# stsEndpoint: "https://sts.storage.example.com"{{ end }}
# Another IAM than AWS's, which explains refusals; where STS is unless set.
{{ with $settings.iamEndpoint }}iamEndpoint: {{ . | quote }}{{ else }}# iamEndpoint: "https://iam.storage.example.com"{{ end }}
# broker: roles trust the principal of podid's base credentials. service: they trust pods.eks.amazonaws.com (a local AWS).
{{ with $settings.principal }}principal: {{ . | quote }}{{ else }}# principal: "broker"{{ end }}
# How long sessions last, 15m to 12h. Base credentials that are themselves a role's session allow an hour at most.
{{ with $settings.sessionDuration }}sessionDuration: {{ . | quote }}{{ else }}# sessionDuration: "1h"{{ end }}
# true lets podid use the node's instance role as base credentials. Only where no pod reaches the metadata service.
{{ with $settings.iHaveBlockedIMDS }}iHaveBlockedIMDS: {{ . | quote }}{{ else }}# iHaveBlockedIMDS: "false"{{ end }}
# The iss of the cluster's tokens; what the API server says of itself unless set.
{{ with $settings.issuer }}issuer: {{ . | quote }}{{ else }}# issuer: "https://kubernetes.default.svc"{{ end }}
# How long podid goes on without news of pods and associations, 10m to 24h.
{{ with $settings.maxStaleness }}maxStaleness: {{ . | quote }}{{ else }}# maxStaleness: "1h"{{ end }}
# true admits callers that sign with an access key, such as AWS's own agent. Node scope does not hold for them.
{{ with $settings.allowSigV4Agents }}allowSigV4Agents: {{ . | quote }}{{ else }}# allowSigV4Agents: "false"{{ end }}
# true opens the annotation door. It takes the policy pass-role-annotation.podid.dev too: `podid install --annotations` brings it, and lists
# first what is annotated already.
{{ with $settings.annotations }}annotations: {{ . | quote }}{{ else }}# annotations: "false"{{ end }}
# false closes the door of the EKS REST API.
{{ with $settings.eksAPI }}eksAPI: {{ . | quote }}{{ else }}# eksAPI: "true"{{ end }}
# true gives annotated service accounts without association IRSA's variables and token.
{{ with $settings.irsa }}irsa: {{ . | quote }}{{ else }}# irsa: "false"{{ end }}
# true where pods reach the agent at [fd00:ec2::23] alone.
{{ with $settings.ipv6 }}ipv6: {{ . | quote }}{{ else }}# ipv6: "false"{{ end }}
# true leaves AWS_STS_REGIONAL_ENDPOINTS out of pods.
{{ with $settings.globalSTS }}globalSTS: {{ . | quote }}{{ else }}# globalSTS: "false"{{ end }}
# true: nodes that join with the taint podid.dev/agent-not-ready lose it when their agent is ready. Needs the right to patch nodes.
{{ if .Values.startupTaint.enabled }}startupTaint: "true"{{ else }}# startupTaint: "false"{{ end }}
# true: cert-manager makes podid's certificates.
{{ if .Values.certificates.certManager }}certManager: "true"{{ else }}# certManager: "false"{{ end }}
{{- end }}

