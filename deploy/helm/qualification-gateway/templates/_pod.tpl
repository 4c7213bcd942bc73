{{- /*
The parts that the pods of workers and of commands share.
Each takes a dict: root, user (the KafkaUser), path (the value that names it), secrets (whether the pod gets the
secrets of the registries).
*/ -}}

{{- define "gateway.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "gateway.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* The way in which the pods prove who they are: "password", "token", "certificate" or "". */ -}}
{{- define "gateway.kafkaProof" -}}
{{- if hasPrefix "SASL" .Values.kafka.security -}}
{{ ternary "token" "password" (eq .Values.kafka.mechanism "OAUTHBEARER") }}
{{- else if eq .Values.kafka.security "SSL" -}}
certificate
{{- end }}
{{- end }}

{{- define "gateway.environment" -}}
{{- $values := .root.Values }}
{{- $proof := include "gateway.kafkaProof" .root -}}
- {name: GATEWAY_KAFKA_BOOTSTRAP, value: {{ required "kafka.bootstrap: give host:port of the brokers" $values.kafka.bootstrap | quote }}}
- {name: GATEWAY_KAFKA_SECURITY, value: {{ $values.kafka.security | quote }}}
{{- if or (eq $proof "password") (eq $proof "token") }}
- {name: GATEWAY_KAFKA_SASL_MECHANISM, value: {{ $values.kafka.mechanism | quote }}}
{{- end }}
{{- if eq $proof "password" }}
- {name: GATEWAY_KAFKA_USERNAME, value: {{ .user | quote }}}
- {name: GATEWAY_KAFKA_PASSWORD_FILE, value: /run/kafka-user/password}
{{- else if eq $proof "token" }}
- {name: GATEWAY_KAFKA_TOKEN_FILE, value: /run/kafka-user/token}
{{- else if eq $proof "certificate" }}
- {name: GATEWAY_KAFKA_CERT_FILE, value: /run/kafka-user/user.crt}
- {name: GATEWAY_KAFKA_KEY_FILE, value: /run/kafka-user/user.key}
{{- end }}
{{- if $values.kafka.caSecret }}
- {name: GATEWAY_KAFKA_CA_FILE, value: /run/kafka-ca/ca.crt}
{{- end }}
- {name: GATEWAY_PSEUDONYM_KEY_FILE, value: /run/pseudonym-keys/key}
{{- if $values.pseudonymKey.permanentKey }}
- {name: GATEWAY_PERMANENT_KEY_FILE, value: /run/pseudonym-keys/permanent}
{{- end }}
{{- if $values.pseudonymKey.previousKey }}
- {name: GATEWAY_PSEUDONYM_KEY_PREVIOUS_FILE, value: /run/pseudonym-keys/previous}
{{- end }}
{{- if $values.files.git.repository }}
- {name: GATEWAY_CONNECTORS, value: {{ printf "/srv/files/current/%s" $values.files.git.connectors | quote }}}
{{- with $values.files.git.mappings }}
- {name: GATEWAY_MAPPINGS, value: {{ printf "/srv/files/current/%s" . | quote }}}
{{- end }}
{{- end }}
- {name: GATEWAY_STAGE, value: {{ $values.stage | quote }}}
- {name: GATEWAY_LOG_LEVEL, value: {{ $values.logLevel | quote }}}
{{- with $values.metrics.runbooks }}
- {name: GATEWAY_RUNBOOKS_URL, value: {{ . | quote }}}
{{- end }}
{{- range $name, $value := $values.settings }}
- {name: {{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end }}

{{- define "gateway.mounts" -}}
{{- $values := .root.Values -}}
- {name: tmp, mountPath: /tmp}
{{- if include "gateway.kafkaProof" .root }}
- {name: kafka-user, mountPath: /run/kafka-user, readOnly: true}
{{- end }}
{{- if $values.kafka.caSecret }}
- {name: kafka-ca, mountPath: /run/kafka-ca, readOnly: true}
{{- end }}
- {name: pseudonym-keys, mountPath: /run/pseudonym-keys, readOnly: true}
{{- if and .secrets $values.registrySecrets }}
- {name: registries, mountPath: /run/secrets/gateway, readOnly: true}
{{- end }}
{{- if $values.files.git.repository }}
- {name: files, mountPath: /srv/files, readOnly: true}
{{- end }}
{{- if $values.files.connectors }}
- {name: connectors, mountPath: /srv/gateway/connectors, readOnly: true}
{{- end }}
{{- if $values.files.mappings }}
- {name: mappings, mountPath: /srv/gateway/mappings, readOnly: true}
{{- end }}
{{- end }}

{{- define "gateway.volumes" -}}
{{- $values := .root.Values -}}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 64Mi}
{{- $proof := include "gateway.kafkaProof" .root }}
{{- if $proof }}
- name: kafka-user
  secret:
    secretName: {{ required (printf "%s.kafkaUser: name the KafkaUser" .path) .user | quote }}
    defaultMode: 0440
    items:
      {{- if eq $proof "certificate" }}
      - {key: {{ $values.kafka.certificateKey | quote }}, path: user.crt}
      - {key: {{ $values.kafka.privateKey | quote }}, path: user.key}
      {{- else }}
      - {key: {{ $values.kafka.passwordKey | quote }}, path: {{ $proof }}}
      {{- end }}
{{- end }}
{{- if $values.kafka.caSecret }}
- name: kafka-ca
  secret:
    secretName: {{ $values.kafka.caSecret | quote }}
    items:
      - {key: {{ $values.kafka.caKey | quote }}, path: ca.crt}
{{- end }}
- name: pseudonym-keys
  secret:
    secretName: {{ required "pseudonymKey.secret: name the Secret with the key that holders are pseudonymised with" $values.pseudonymKey.secret | quote }}
    defaultMode: 0440
    items:
      - {key: {{ $values.pseudonymKey.key | quote }}, path: key}
      {{- with $values.pseudonymKey.permanentKey }}
      - {key: {{ . | quote }}, path: permanent}
      {{- end }}
      {{- with $values.pseudonymKey.previousKey }}
      - {key: {{ . | quote }}, path: previous}
      {{- end }}
{{- if and .secrets $values.registrySecrets }}
- name: registries
  projected:
    defaultMode: 0440
    sources:
      {{- range $values.registrySecrets }}
      - secret:
          name: {{ .secret | quote }}
          items:
            - {key: {{ .key | quote }}, path: {{ .path | quote }}}
      {{- end }}
{{- end }}
{{- with $values.files.connectors }}
- name: connectors
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.files.mappings }}
- name: mappings
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.files.git }}
{{- if .repository }}
- name: files
  emptyDir: {sizeLimit: 256Mi}
{{- if .secret }}
- name: git-password
  secret:
    secretName: {{ .secret | quote }}
    defaultMode: 0440
    items:
      - {key: password, path: password}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A container of git-sync. It takes a dict: root, once (whether it ends after the first copy). */ -}}
{{- define "gateway.gitSync" -}}
{{- $git := .root.Values.files.git }}
- name: {{ ternary "git-first" "git-sync" .once }}
  image: {{ required "files.git.image: name the image of git-sync 4 in the registry that you use" $git.image | quote }}
  args:
    - --repo={{ $git.repository }}
    - --ref={{ $git.ref }}
    - --depth=1
    - --root=/srv/files
    - --link=current
    {{- if .once }}
    - --one-time
    {{- else }}
    - --period={{ $git.period }}
    - --max-failures=-1
    {{- end }}
  env:
    - {name: HOME, value: /tmp}
    {{- if $git.secret }}
    - name: GITSYNC_USERNAME
      valueFrom:
        secretKeyRef: {name: {{ $git.secret | quote }}, key: username}
    - {name: GITSYNC_PASSWORD_FILE, value: /run/git/password}
    {{- end }}
  resources:
    requests: {cpu: 10m, memory: 64Mi}
    limits: {memory: 256Mi}
  securityContext:
    {{- include "gateway.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
    - {name: files, mountPath: /srv/files}
    {{- if $git.secret }}
    - {name: git-password, mountPath: /run/git, readOnly: true}
    {{- end }}
{{- end }}

{{- define "gateway.checkValues" -}}
{{- if and .Values.accept (ne (int .Values.roles.poll.replicas) 1) }}
{{- fail "accept: set roles.poll.replicas to 1 for this time, because one worker accepts for all" }}
{{- end }}
{{- $files := .Values.files }}
{{- if and $files.git.repository $files.connectors }}
{{- fail "files.connectors and files.git.repository: set one of them, because both supply the connector files" }}
{{- end }}
{{- if and $files.git.repository $files.git.mappings $files.mappings }}
{{- fail "files.mappings and files.git.mappings: set one of them, because both supply the mapping tables" }}
{{- end }}
{{- if and $files.git.repository .Values.networkPolicy.enabled (not .Values.networkPolicy.extraEgress) }}
{{- fail "networkPolicy.extraEgress: add a rule for the server of files.git.repository, because the network policies block all other connections" }}
{{- end }}
{{- end }}
