#!/bin/sh
# Installs what `candor-rfc build` needs to turn the Markdown into text and HTML: kramdown-rfc from the system's packages
# (Debian and Ubuntu: ruby-kramdown-rfc2629) and xml2rfc into a virtual environment under target/draft-tools.
# Run it from anywhere in the repository. Both work offline afterwards.
set -eu

XML2RFC_VERSION=3.34.1

cd "$(dirname "$0")/.."

if ! command -v kramdown-rfc >/dev/null 2>&1; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "kramdown-rfc is missing and there is no apt-get: install it with your system's package manager or as the Ruby gem kramdown-rfc2629" >&2
        exit 1
    fi
    as_root=
    [ "$(id -u)" -eq 0 ] || as_root=sudo
    $as_root apt-get install -y --no-install-recommends ruby-kramdown-rfc2629
fi

tools=target/draft-tools
if ! "$tools/bin/xml2rfc" --version 2>/dev/null | grep -qF "$XML2RFC_VERSION"; then
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet "xml2rfc==$XML2RFC_VERSION"
fi

echo "kramdown-rfc: $(command -v kramdown-rfc)"
echo "xml2rfc: $tools/bin/xml2rfc, $("$tools/bin/xml2rfc" --version)"
