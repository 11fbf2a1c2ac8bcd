# begin irkit-verify
# sh irkit-verify.sh [BUNDLE [ALLOWED_SIGNERS]]        POSIX sh, read-only
# Exit 0: all holds. 1: something does not. 2: could not be checked.
set -u
LC_ALL=C
export LC_ALL
id='@ID@'
namespace='@NAMESPACE@'
signers=${2:-}
case $signers in '' | /*) ;; *) signers=$PWD/$signers ;; esac
cd -- "${1:-.}" || exit 2
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
trap 'exit 2' HUP INT TERM
if command -v sha256sum >/dev/null && command -v sha512sum >/dev/null; then
  s256=sha256sum s512=sha512sum
else
  s256='shasum -a 256' s512='shasum -a 512'
fi
command -v ssh-keygen >/dev/null || { echo 'ssh-keygen is not here'; exit 2; }
sig=tagmanifest-sha256.txt.sig

bad=0
fail() { printf 'FAIL  %s\n' "$*"; bad=1; }
show() { sed -n l "$1" | sed 's/^/      /'; }    # escapes what a terminal would obey
stop() { if [ "$bad" -ne 0 ]; then echo 'INTEGRITY: FAILED'; echo 'ORIGIN: NOT CHECKED'; exit 1; fi; }
field() { sed -n "s/^$1: //p" bag-info.txt; }
whole() { [ -z "$(tail -c 1 "$1")" ]; }          # ends with LF

# 1. Only plain files and folders, and what must be there is there.
find . ! -type f ! -type d >"$tmp/odd"
[ ! -s "$tmp/odd" ] || { fail 'links or special files:'; show "$tmp/odd"; }
for f in bagit.txt bag-info.txt manifest-sha256.txt manifest-sha512.txt VERIFY.txt \
  tagmanifest-sha256.txt "$sig" meta/entries.jsonl meta/custody.jsonl seal/allowed_signers; do
  [ -f "$f" ] || fail "missing: $f"
done
[ -d data ] || fail 'missing: data'
stop

# 2. The lists have one form, and no path in them leaves the bundle.
payload='data(/[a-z0-9][a-z0-9._-]*){1,3}'
tag='[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){0,3}'
form() {
  grep -Ev "^[0-9a-f]{$2}  $3\$" "$1" >"$tmp/odd" && { fail "lines of another form in $1:"; show "$tmp/odd"; }
  whole "$1" || fail "$1 does not end with a line feed"
}
form manifest-sha256.txt 64 "$payload"
form manifest-sha512.txt 128 "$payload"
form tagmanifest-sha256.txt 64 "$tag"
cut -c67- tagmanifest-sha256.txt | grep -E '^(data/|data$|tagmanifest-sha256\.txt)' >"$tmp/odd" &&
  { fail 'listed as tag files:'; show "$tmp/odd"; }
stop

# 3. Nothing changed.
check() {
  [ ! -s "$1" ] || $2 -c "$1" >"$tmp/out" 2>&1 || { fail "changed or missing, by $1:"; grep -v ': OK$' "$tmp/out" >"$tmp/odd"; show "$tmp/odd"; }
}
check tagmanifest-sha256.txt "$s256"
check manifest-sha256.txt "$s256"
check manifest-sha512.txt "$s512"

# 4. Nothing added: no file, no folder, no name twice.
same() { diff "$2" "$3" >"$tmp/odd" || { fail "$1 (< only listed, > only there):"; show "$tmp/odd"; }; }
find . -type f | sed 's,^\./,,' | sort >"$tmp/have"
{
  cut -c67- manifest-sha256.txt
  cut -c67- tagmanifest-sha256.txt
  printf '%s\n' tagmanifest-sha256.txt "$sig"
  [ ! -f tagmanifest-sha256.txt.tsr ] || echo tagmanifest-sha256.txt.tsr
} | sort >"$tmp/want"
same 'files' "$tmp/want" "$tmp/have"
tr 'A-Z' 'a-z' <"$tmp/have" | sort | uniq -d >"$tmp/odd"
[ ! -s "$tmp/odd" ] || { fail 'names that differ only in case:'; show "$tmp/odd"; }
find . -type d | sed -e 's,^\./,,' -e '/^\.$/d' | sort >"$tmp/have"
{
  echo data
  sed -n 's,/[^/]*$,,p' "$tmp/want"
  sed -n 's,/[^/]*/[^/]*$,,p' "$tmp/want"
  sed -n 's,/[^/]*/[^/]*/[^/]*$,,p' "$tmp/want"
} | sort -u >"$tmp/dirs"
same 'folders' "$tmp/dirs" "$tmp/have"
cut -c67- manifest-sha256.txt | sort >"$tmp/want"
cut -c131- manifest-sha512.txt | sort >"$tmp/have"
same 'manifest-sha256.txt and manifest-sha512.txt' "$tmp/want" "$tmp/have"

# 5. The bag's own words.
printf 'BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n' | cmp -s - bagit.txt || fail 'bagit.txt is not that of BagIt 1.0'
[ "$(field External-Identifier)" = "$id" ] || fail "bag-info.txt is not that of $id"
[ "$(field Irkit-Format)" = 1 ] || fail 'bag-info.txt: format is not 1'
oxum=$(find data -type f -exec wc -c {} + | awk '$2 != "total" { b += $1; n++ } END { printf "%.0f.%d", b, n }')
[ "$(field Payload-Oxum)" = "$oxum" ] || fail "Payload-Oxum is not $oxum"

# 6. Every payload file has an entry, with the same digest.
tr '{' '\n' <meta/entries.jsonl | sed -n 's/^"path":"\(data\/[^"]*\)","sha256":"\([0-9a-f]*\)".*/\2  \1/p' | sort >"$tmp/have"
sort manifest-sha256.txt >"$tmp/want"
same 'entries' "$tmp/want" "$tmp/have"
[ "$(wc -l <meta/entries.jsonl | tr -d ' ')" = "$(field Irkit-Entries)" ] || fail 'Irkit-Entries is not the number of entries'

# 7. The custody log: each line names the digest of the line before, the last is the head.
prev=$(printf '%064d' 0)
n=0
record() {
  case $1 in
  '{'*'"prev":"'"$prev"'",'*'"seq":'"$n"',"'*) ;;
  *) fail "custody record $n does not follow the one before"; return 1 ;;
  esac
  prev=$(printf %s "$1" | $s256 | cut -c1-64)
  n=$((n + 1))
}
printable() { [ "$(tr -d '\n\040-\176' <"$1" | wc -c)" -eq 0 ]; }
line=
printable meta/custody.jsonl && whole meta/custody.jsonl || fail 'custody log: not lines of printable ASCII'
while IFS= read -r line; do record "$line" || break; last=$line; done <meta/custody.jsonl
[ "$prev" = "$(field Irkit-Custody-Head)" ] || fail "custody head is $prev, not that of bag-info.txt"
[ "$n" = "$(field Irkit-Custody-Records)" ] || fail "custody log has $n records, not as many as bag-info.txt says"
case ${last:-} in '{"action":"sealed",'*) ;; *) fail 'custody log does not end with sealed' ;; esac
head=$prev
seal=$($s256 <tagmanifest-sha256.txt | cut -c1-64)
later=0
for f in ../"$id".custody/*.jsonl; do
  [ -e "$f" ] || [ -h "$f" ] || continue
  later=$((later + 1))
  if [ -h "$f" ] || [ ! -f "$f" ] || ! printable "$f" || ! whole "$f" || [ "$(wc -l <"$f")" -ne 1 ]; then
    fail "later custody record $n is not one line of printable ASCII"
    break
  fi
  IFS= read -r line <"$f"
  case $line in *'"seal_sha256":"'"$seal"'"'*) ;; *) fail "later custody record $n is of another seal"; break ;; esac
  at=$n
  record "$line" || break
  [ "${f##*/}" = "$(printf '%06d' "$at")-$prev.jsonl" ] || { fail "later custody record $at is not in the file named after it"; break; }
done

# 8. The seal: one signature over tagmanifest-sha256.txt.
signed_by() {    # an allowed_signers file
  [ "$(sed -n 1p "$sig")" = '-----BEGIN SSH SIGNATURE-----' ] &&
    [ "$(sed -n '$p' "$sig")" = '-----END SSH SIGNATURE-----' ] && [ "$(grep -c -e '----' "$sig")" -eq 2 ] || return 1
  ssh-keygen -Y find-principals -f "$1" -s "$sig" >"$tmp/principals" 2>/dev/null || return 1
  while IFS= read -r principal; do
    ssh-keygen -Y verify -f "$1" -I "$principal" -n "$namespace" -s "$sig" <tagmanifest-sha256.txt >/dev/null 2>&1 && return 0
  done <"$tmp/principals"
  return 1
}
signed_by seal/allowed_signers || fail "the seal's signature does not hold"
awk '{ print $(NF - 1), $NF }' seal/allowed_signers >"$tmp/key"
key=$(ssh-keygen -l -f "$tmp/key" 2>/dev/null | awk '{ print $2 }')

# 9. Optional: when. TSA_CA=file with the authority's certificates; TSA_TIME=seconds since
# 1970, when its certificate has expired since.
stamp='no timestamp'
if [ -f tagmanifest-sha256.txt.tsr ]; then
  stamp='a timestamp is there, NOT CHECKED (set TSA_CA)'
  if [ -n "${TSA_CA:-}" ]; then
    if openssl ts -verify -data tagmanifest-sha256.txt -in tagmanifest-sha256.txt.tsr -CAfile "$TSA_CA" \
      ${TSA_TIME:+-attime "$TSA_TIME"} >/dev/null 2>&1; then
      stamp=$(openssl ts -reply -in tagmanifest-sha256.txt.tsr -text 2>/dev/null | sed -n 's/^Time stamp: //p')
    else
      fail 'the timestamp does not hold'
    fi
  fi
fi

echo "bundle        $id"
echo "seal          sha256:$seal"
echo "custody head  sha256:$head ($later later records)"
echo "signing key   ${key:-unreadable}"
echo "time          $stamp"
if [ "$bad" -eq 0 ]; then echo 'INTEGRITY: OK'; else echo 'INTEGRITY: FAILED'; fi
if [ -z "$signers" ]; then
  echo 'ORIGIN: NOT CHECKED'
  echo '*** This proves INTEGRITY ONLY. The key came with the bundle: whoever could write the bundle'
  echo '*** could also make that key. Get allowed_signers from the custodian by another way, compare'
  echo '*** the fingerprint above by voice, and run this again with the file as second argument.'
elif signed_by "$signers"; then
  echo "ORIGIN: OK"
else
  echo 'ORIGIN: FAILED (this key is not among the given signers for this use)'
  bad=1
fi
exit "$bad"
# end irkit-verify
