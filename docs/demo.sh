#!/usr/bin/env bash
# What git-datareg does, on a real data set; run it by `make demo`.
#
# Two releases of a collection of 3,700 images become two versions of a
# registry, which others then clone, look into, and take parts from. All of it
# happens in a temporary directory, which is removed at the end.
set -euo pipefail

archives=${DATAREG_TESTDATA:?run this by: make demo}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Nothing of the user's is read or changed: no configuration, no cache.
for name in $(compgen -e | grep -E '^(GIT_|XDG_)' || true); do unset "$name"; done
export GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0 LC_ALL=C.UTF-8

# A home of one's own is a machine of one's own, as far as git can tell.
be() {
    export HOME=$work/home-of-$1
    mkdir -p "$HOME"
    git config --global user.name "$1"
    git config --global user.email "$1@example.org"
    git config --global init.defaultBranch main
}

say() { printf '\n# %s\n' "$@"; }

# Shows a command, runs it, and shows the beginning of what it says.
run() {
    printf '$ %s\n' "$1"
    eval "$1" 2>&1 | awk '
        NR <= 6 { print "  " $0 }
        END { if (NR > 6) printf "  ... and %d more lines\n", NR - 6 }'
}

go() {
    printf '$ cd %s\n' "$1"
    cd "$1"
}

# Puts the files of a release into the current directory, in place of the last one's.
release() {
    printf '$ # ... put the files of release %s here\n' "$1"
    rm -rf img ./*.json ./*.md LICENSE
    tar -xzf "$archives/emoji-datasource-apple-$1.tgz" --strip-components=1 --no-same-owner
}

cd "$work"
REGISTRY=$work/registry.git
export REGISTRY
start=$SECONDS

be publisher
say 'A registry is a Git repository. Here is an empty one, for all to reach as $REGISTRY.'
run 'git init --quiet --bare "$REGISTRY"'

say 'Its first version: say which files are data, then work as ever with git.'
run 'git init --quiet images'
go images
run 'git remote add origin "$REGISTRY"'
run 'git datareg init'
run "git datareg track 'img/**'"
release 14.0.0
run 'git add .'
run 'git commit --quiet --message "Release 14.0"'
run 'git tag v1'
run 'git push --quiet origin main v1'
say 'Git has a pointer for each data file; the data is in the storage, here beside the Git repository.'
run 'git cat-file blob v1:img/apple/64/1f600.png'
run '(cd "$REGISTRY" && du -sh objects datareg)'

say 'A second version: 149 images more, nearly all others redrawn, and one withdrawn.'
release 15.1.0
run 'rm img/apple/64/0023-fe0f-20e3.png'
run 'git add --all .'
run 'git commit --quiet --message "Release 15.1"'
run 'git tag v2'
run 'git push --quiet origin main v2'
run '(cd "$REGISTRY" && du -sh objects datareg)'
cd "$work"

be reader
say 'Another user, with nothing set up: the clone has the data in place.'
run 'git clone --quiet "datareg::$REGISTRY" clone'
run 'diff --recursive --brief --exclude=.git images clone && echo "same files"'
run 'git -C clone status --short --branch'

say 'No clone is needed to look inside, or to take one file, of any version.'
run 'git datareg list -R "$REGISTRY"'
run 'git datareg get --rev v1 "$REGISTRY" img/apple/64/1f600.png'
run 'wc -c 1f600.png'

say 'Another repository imports a directory, at a version. Where it came from is recorded.'
run 'git init --quiet app'
go app
run 'git datareg import --rev v1 "$REGISTRY" img/apple/64 -o faces'
run 'cat faces.datareg'
run 'git commit --quiet --message "Import faces, v1"'
run 'ls faces | wc -l'

say 'And moves to the next version: only what differs is downloaded.'
run 'git datareg update --rev v2 faces'
run 'git diff --cached --name-status --no-renames -- faces | cut -c1 | sort | uniq -c'
run 'git commit --quiet --message "Update faces to v2"'
run 'git status --short --branch'

say 'Programs read data files without any of this.'
run 'python -c "
import os
from git_datareg import api
image = api.read(\"img/apple/64/1f600.png\", repo=os.environ[\"REGISTRY\"], rev=\"v2\", mode=\"rb\")
print(len(image), \"bytes, beginning with\", image[:8])"'

say "Done, in $((SECONDS - start)) seconds."
