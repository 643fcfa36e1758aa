{{- define "hookline.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "hookline.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "hookline.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "hookline.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "hookline.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (ternary (include "hookline.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "hookline.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* The environment stands over hookline.toml: what the chart relies on. */}}
{{- define "hookline.environment" -}}
- {name: HOOKLINE_DATA_DIR, value: /var/lib/hookline}
- {name: HOOKLINE_LOG__BACKEND, value: kafka}
- {name: HOOKLINE_INGEST__LISTEN, value: "0.0.0.0:8080"}
- {name: HOOKLINE_CONTROL__LISTEN, value: "0.0.0.0:8081"}
- {name: HOOKLINE_ADMIN__LISTEN, value: "0.0.0.0:9090"}
- {name: HOOKLINE_SEALING__KEY_FILE, value: /run/secrets/hookline/sealing/{{ .Values.secrets.sealing.key }}}
{{- with .Values.secrets.tokens }}{{ if .existingSecret }}
- {name: HOOKLINE_CONTROL__TOKENS__LOCAL_KEY_FILE, value: /run/secrets/hookline/tokens/{{ .key }}}
{{- end }}{{ end }}
{{- with .Values.secrets.kafka.password }}{{ if .existingSecret }}
- {name: HOOKLINE_LOG__KAFKA__SASL_PASSWORD_FILE, value: /run/secrets/hookline/kafka-password/{{ .key }}}
{{- end }}{{ end }}
{{- with .Values.secrets.kafka.ca }}{{ if .existingSecret }}
- {name: HOOKLINE_LOG__KAFKA__CA_FILE, value: /run/secrets/hookline/kafka-ca/{{ .key }}}
{{- end }}{{ end }}
{{- end }}

{{/* The Secrets that are mounted, as a list of name, existingSecret and mountPath. */}}
{{- define "hookline.secrets" -}}
{{- $secrets := .Values.secrets }}
{{- $named := dict "sealing" $secrets.sealing "tokens" $secrets.tokens "kafka-password" $secrets.kafka.password "kafka-ca" $secrets.kafka.ca }}
{{- $mounted := list }}
{{- range $name, $secret := $named }}
{{- if $secret.existingSecret }}
{{- $mounted = append $mounted (dict "name" $name "existingSecret" $secret.existingSecret "mountPath" (printf "/run/secrets/hookline/%s" $name)) }}
{{- end }}
{{- end }}
{{- range $index, $secret := $secrets.extra }}
{{- $mounted = append $mounted (merge (dict "name" (printf "extra-%d" $index)) $secret) }}
{{- end }}
{{- toYaml $mounted }}
{{- end }}
