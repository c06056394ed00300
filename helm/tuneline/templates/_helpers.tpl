{{/* Labels of every object. */}}
{{- define "tuneline.labels" -}}
app.kubernetes.io/name: tuneline
app.kubernetes.io/part-of: tuneline
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels of workflows besides those in argo/. */}}
{{- define "tuneline.workflowLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels of their pods besides those in argo/. */}}
{{- define "tuneline.podLabels" -}}
{{- include "tuneline.workflowLabels" . }}
{{- with .Values.queueName }}
kueue.x-k8s.io/queue-name: {{ . | quote }}
{{- end }}
{{- end }}

{{/* Name, namespace and labels of an object: dict "root" $ "name" NAME. */}}
{{- define "tuneline.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels: {{- include "tuneline.labels" .root | nindent 2 }}
{{- end }}

{{/* The settings of a stage, defaults filled in: dict "root" $ "stage" NAME. */}}
{{- define "tuneline.stage" -}}
{{- mergeOverwrite (deepCopy .root.Values.stageDefaults) (deepCopy (index .root.Values.stages .stage)) | toYaml }}
{{- end }}

{{/* The image of a stage: dict "root" $ "stage" NAME. */}}
{{- define "tuneline.image" -}}
{{- $stage := include "tuneline.stage" . | fromYaml }}
{{- $image := .root.Values.image }}
{{- with $image.registry }}{{ . }}/{{ end }}{{ $image.repository }}/{{ .stage }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- with $stage.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* Where the main container of a stage has its variables from: dict "root" $ "stage" NAME. */}}
{{- define "tuneline.envFrom" -}}
{{- $stage := include "tuneline.stage" . | fromYaml }}
- configMapRef: {name: tuneline-env}
{{- with .root.Values.store.existingSecret }}
- secretRef: {name: {{ . | quote }}}
{{- end }}
{{- range $stage.reaches }}
{{- with (index $.root.Values .).existingSecret }}
- secretRef: {name: {{ . | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{/* What a stage's pod has besides what argo/ says, as a patch of its spec: dict "root" $ "stage" NAME. */}}
{{- define "tuneline.podSpecPatch" -}}
{{- $values := .root.Values }}
{{- $stage := include "tuneline.stage" . | fromYaml }}
{{- $cache := and $values.hub.cacheClaim (has "hub" $stage.reaches) }}
terminationGracePeriodSeconds: {{ $stage.graceSeconds }}
{{- with $values.image.pullSecrets }}
imagePullSecrets: {{- range . }}
- name: {{ . | quote }}
{{- end }}
{{- end }}
{{- with $stage.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $stage.tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with $stage.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $stage.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- if not (kindIs "invalid" $values.fsGroup) }}
securityContext: {fsGroup: {{ $values.fsGroup }}, fsGroupChangePolicy: OnRootMismatch}
{{- end }}
volumes:
- name: tmp
  emptyDir: {sizeLimit: {{ $stage.tmpSize }}}
- name: scratch
{{- if $stage.scratch.storageClass }}
  emptyDir: null
  ephemeral:
    volumeClaimTemplate:
      spec:
        accessModes: [ReadWriteOnce]
        storageClassName: {{ $stage.scratch.storageClass | quote }}
        resources: {requests: {storage: {{ $stage.scratch.size }}}}
{{- else }}
  emptyDir: {sizeLimit: {{ $stage.scratch.size }}}
{{- end }}
{{- with $stage.shmSize }}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: {{ . }}}
{{- end }}
{{- if $cache }}
- name: cache
  persistentVolumeClaim: {claimName: {{ $values.hub.cacheClaim | quote }}}
{{- end }}
{{- include "tuneline.caVolume" .root }}
containers:
- name: main
  imagePullPolicy: {{ $values.image.pullPolicy }}
  resources: {{- toYaml $stage.resources | nindent 4 }}
  envFrom: {{- include "tuneline.envFrom" . | nindent 2 }}
{{- if $cache }}
  env:
  - {name: HF_HOME, value: /cache}
{{- end }}
{{- if or $stage.shmSize $cache $values.caBundle.configMap }}
  volumeMounts:
{{- if $stage.shmSize }}
  - {name: shm, mountPath: /dev/shm}
{{- end }}
{{- if $cache }}
  - {name: cache, mountPath: /cache}
{{- end }}
{{- include "tuneline.caMount" .root }}
{{- end }}
{{- end }}

{{- define "tuneline.caVolume" -}}
{{- with .Values.caBundle.configMap }}
- name: ca
  configMap: {name: {{ . | quote }}}
{{- end }}
{{- end }}

{{- define "tuneline.caMount" -}}
{{- if .Values.caBundle.configMap }}
  - {name: ca, mountPath: /etc/tuneline/ca, readOnly: true}
{{- end }}
{{- end }}
