#!/usr/bin/env bash
# Build helm, kubeconform and docker-compose into the folder $1, for `make deploy-check`.
# The script leaves a tool out that it cannot build. The tests that need the tool are then skipped with a reason.
set -u
folder=$(cd "$1" && pwd)

if ! command -v go >/dev/null; then
    echo "go is not on PATH: helm, kubeconform and docker-compose are not built"
    exit 0
fi

# A module of its own builds each program, because `go install` refuses modules with replacements.
build() {
    local name=$1 package=$2 version=$3 work
    [ -x "$folder/$name" ] && return
    work=$(mktemp -d)
    printf 'package main\n\nimport _ "%s"\n\nfunc main() {}\n' "$package" >"$work/main.go"
    if (
        cd "$work" && go mod init check && go get "$package@$version" && go mod tidy -e &&
            go build -o "$folder/$name" "$package"
    ) >"$work/log" 2>&1; then
        echo "built $name $version"
    else
        echo "$name $version cannot be built: $(tail -n 1 "$work/log")"
    fi
    rm -rf "$work"
}

build helm helm.sh/helm/v3/cmd/helm v3.22.0
build kubeconform github.com/yannh/kubeconform/cmd/kubeconform v0.8.0
build docker-compose github.com/docker/compose/v5/cmd v5.6.0
