#!/usr/bin/env bash
# update.sh v1.MINOR.PATCH: writes go.mod and go.sum anew for that Kubernetes.
# k8s.io/kubernetes replaces its staging modules by folders that its zip does not
# hold, and replacements of a dependency do not count anyway; so every one of them
# is replaced here by the version that was published with the release.
set -euo pipefail
cd "$(dirname "$0")"
version=$1 staging=v0.${1#v1.}
upstream=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/.*"GoMod": "\(.*\)",/\1/p')
{
  echo "// Written by update.sh; do not edit."
  echo "module github.com/openpodidentity/podid/test/kube/kubebox"
  echo
  grep '^go ' "$upstream"
  echo
  grep '^godebug ' "$upstream" || true
  echo
  echo "require k8s.io/kubernetes $version"
  echo
  echo "replace ("
  sed -n "s#^\t\(k8s.io/[a-z-]*\) => ./staging/src/.*#\t\1 => \1 $staging#p" "$upstream"
  echo ")"
} >go.mod
go mod tidy
