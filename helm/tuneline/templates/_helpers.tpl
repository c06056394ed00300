{{/* Labels of every object. The chart's own win: policies select by them. */}}
{{- define "tuneline.labels" -}}
{{- merge (dict
  "app.kubernetes.io/name" "tuneline"
  "app.kubernetes.io/part-of" "tuneline"
  "app.kubernetes.io/instance" .Release.Name
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version)
) .Values.labels | toYaml }}
{{- end }}

{{/* Labels of workflows besides those in argo/, which win. */}}
{{- define "tuneline.workflowLabels" -}}
{{- merge (dict "app.kubernetes.io/instance" .Release.Name) .Values.labels | toYaml }}
{{- end }}

{{/* Labels of their pods besides those in argo/, which win. */}}
{{- define "tuneline.podLabels" -}}
{{- $own := dict "app.kubernetes.io/instance" .Release.Name }}
{{- with .Values.queueName }}{{ $_ := set $own "kueue.x-k8s.io/queue-name" . }}{{ end }}
{{- merge $own .Values.labels | toYaml }}
{{- end }}

{{/* Name, namespace and labels of an object: dict "root" $ "name" NAME. */}}
{{- define "tuneline.metadata" -}}
name: {{ .name | quote }}
namespace: {{ .root.Release.Namespace | quote }}
labels: {{- include "tuneline.labels" .root | nindent 2 }}
{{- end }}

{{/* The settings of a stage, defaults filled in: dict "root" $ "stage" NAME. */}}
{{- define "tuneline.stage" -}}
{{- mergeOverwrite (deepCopy .root.Values.stageDefaults) (deepCopy (index .root.Values.stages .stage | default dict)) | toYaml }}
{{- end }}

{{/* The names of all stages, as JSON: each has a template with its name in files/argo, and a container in it. That
which says how a workflow ended counts where it has somebody to tell. */}}
{{- define "tuneline.stages" -}}
{{- $told := or .Values.hook.url .Values.hook.existingSecret }}
{{- $names := list }}
{{- range $path, $_ := .Files.Glob "files/argo/*.yaml" }}
{{- $template := $.Files.Get $path | fromYaml }}
{{- $name := $template.metadata.name }}
{{- if and (first $template.spec.templates).container (or (ne $name "hook") $told) }}{{ $names = append $names $name }}{{ end }}
{{- end }}
{{- if not $names }}
{{- fail "files/argo of this chart is missing or empty: whatever packed the chart left it out" }}
{{- end }}
{{- toJson $names }}
{{- end }}

{{/* The image of a stage, for check and hook that of the assessor: dict "root" $ "stage" NAME. */}}
{{- define "tuneline.image" -}}
{{- $name := ternary "assessor" .stage (has .stage (list "check" "hook")) }}
{{- $stage := include "tuneline.stage" (dict "root" .root "stage" $name) | fromYaml }}
{{- $image := .root.Values.image }}
{{- $cuda := and (eq $name "evaluator") (gt (int $stage.gpu) 0) }}
{{- $image.registry }}/{{ $image.repository }}/{{ $name }}{{ if $cuda }}-cuda{{ end }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- with ternary $stage.gpuDigest $stage.digest $cuda }}@{{ . }}{{ end }}
{{- end }}

{{/* Whether a node may pull: nobody owns the registry `localhost`, so an image of it is there or is not. */}}
{{- define "tuneline.pullPolicy" -}}
{{- ternary "Never" .Values.image.pullPolicy (eq .Values.image.registry "localhost") }}
{{- end }}

{{/* The variables of a stage's container that are its own, secrets one by one: dict "root" $ "stage" NAME. */}}
{{- define "tuneline.env" -}}
{{- $values := .root.Values }}
{{- $stage := include "tuneline.stage" . | fromYaml }}
- {name: TUNELINE_IMAGE, value: {{ include "tuneline.image" . | quote }}}
{{- with $values.store.existingSecret }}
- {name: AWS_ACCESS_KEY_ID, valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: AWS_ACCESS_KEY_ID}}}
- {name: AWS_SECRET_ACCESS_KEY, valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: AWS_SECRET_ACCESS_KEY}}}
- {name: AWS_SESSION_TOKEN, valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: AWS_SESSION_TOKEN, optional: true}}}
{{- end }}
{{- if has "judge" $stage.reaches }}
{{- with $values.judge.existingSecret }}
{{- range $values.judge.keys }}
- {name: {{ . | quote }}, valueFrom: {secretKeyRef: {name: {{ $values.judge.existingSecret | quote }}, key: {{ . | quote }}, optional: true}}}
{{- end }}
{{- end }}
{{- end }}
{{- if has "hub" $stage.reaches }}
{{- with ternary $values.publish.existingSecret $values.hub.existingSecret (eq .stage "publisher") }}
- {name: HF_TOKEN, valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: HF_TOKEN}}}
{{- end }}
{{- if $values.hub.cacheClaim }}
- {name: HF_HOME, value: /cache}
{{- end }}
{{- end }}
{{- if has .stage (list "trainer" "check") }}
{{- range $name, $value := $values.tracking.env }}
- {name: {{ $name | quote }}, value: {{ $value | quote }}}
{{- end }}
{{- with $values.tracking.existingSecret }}
{{- range list "WANDB_API_KEY" "MLFLOW_TRACKING_TOKEN" "MLFLOW_TRACKING_USERNAME" "MLFLOW_TRACKING_PASSWORD" "TRACKIO_WRITE_TOKEN" }}
- {name: {{ . }}, valueFrom: {secretKeyRef: {name: {{ $values.tracking.existingSecret | quote }}, key: {{ . }}, optional: true}}}
{{- end }}
{{- end }}
{{- end }}
{{- if eq .stage "hook" }}
{{- with $values.hook.existingSecret }}
- {name: HOOK_HEADER, valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: HOOK_HEADER, optional: true}}}
{{- end }}
{{- if $values.hook.url }}
- {name: HOOK_URL, value: {{ $values.hook.url | quote }}}
{{- else }}
- {name: HOOK_URL, valueFrom: {secretKeyRef: {name: {{ $values.hook.existingSecret | quote }}, key: HOOK_URL, optional: true}}}
{{- end }}
{{- end }}
{{- end }}

{{/* A quantity of Kubernetes, such as 500m or 1.5Gi, as a number; nothing for what is none. */}}
{{- define "tuneline.number" -}}
{{- $units := dict "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 }}
{{- $units = merge $units (dict "" 1 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976) }}
{{- $unit := regexFind "[a-zA-Z]*$" (toString .) }}
{{- if and (regexMatch "^[0-9][0-9.]*(e[+][0-9]+)?[a-zA-Z]*$" (toString .)) (hasKey $units $unit) }}{{ mulf (toString . | trimSuffix $unit | float64) (index $units $unit) }}{{ end }}
{{- end }}

{{/* Refuses requests over their limits, which Kubernetes takes in a template and then in no pod: dict "stage" NAME
"resources" RESOURCES. Who sets one of the two has the other from the defaults. */}}
{{- define "tuneline.fittingResources" -}}
{{- $limits := .resources.limits | default dict }}
{{- range $name, $request := .resources.requests }}
{{- if hasKey $limits $name }}
{{- $limit := index $limits $name }}
{{- $most := include "tuneline.number" $limit }}
{{- if and $most (gt (include "tuneline.number" $request | float64) (float64 $most)) }}
{{- fail (printf "stages.%s.resources: requests.%s is %v and limits.%s is %v; Kubernetes runs no pod that requests more than its limit. Set both (what is not set has its default)" $.stage $name $request $name $limit) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What a stage's pod has besides what argo/ says, as a patch of its spec: dict "root" $ "stage" NAME. */}}
{{- define "tuneline.podSpecPatch" -}}
{{- $values := .root.Values }}
{{- $stage := include "tuneline.stage" . | fromYaml }}
{{- $cache := and $values.hub.cacheClaim (has "hub" $stage.reaches) }}
{{- include "tuneline.fittingResources" (dict "stage" .stage "resources" $stage.resources) }}
terminationGracePeriodSeconds: {{ $stage.graceSeconds | int }}
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
securityContext: {fsGroup: {{ $values.fsGroup | int64 }}, fsGroupChangePolicy: OnRootMismatch}
{{- end }}
volumes:
- name: tmp
  emptyDir: {sizeLimit: {{ $stage.tmpSize | toJson }}}
- name: scratch
{{- if $stage.scratch.storageClass }}
  emptyDir: null
  ephemeral:
    volumeClaimTemplate:
      spec:
        accessModes: [ReadWriteOnce]
        storageClassName: {{ $stage.scratch.storageClass | quote }}
        resources: {requests: {storage: {{ $stage.scratch.size | toJson }}}}
{{- else }}
  emptyDir: {sizeLimit: {{ $stage.scratch.size | toJson }}}
{{- end }}
{{- with $stage.shmSize }}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: {{ . | toJson }}}
{{- end }}
{{- if $cache }}
- name: cache
  persistentVolumeClaim: {claimName: {{ $values.hub.cacheClaim | quote }}}
{{- end }}
{{- include "tuneline.caVolume" .root }}
{{- if gt (int $stage.gpu) 0 }}
{{- range list "requests" "limits" }}{{ $_ := set (index $stage.resources .) "nvidia.com/gpu" (int $stage.gpu) }}{{ end }}
{{- end }}
containers:
- name: main
  resources: {{- toYaml $stage.resources | nindent 4 }}
  envFrom: [{configMapRef: {name: tuneline-env}}]
  env: {{- include "tuneline.env" . | nindent 2 }}
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
