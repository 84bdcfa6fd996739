#!/bin/sh
# Writes manual pages and completions of bash, zsh and fish from what --help says.
# usage: manuals.sh TENON OUT_DIR      (tenon.1, tenon-COMMAND.1, tenon.bash, _tenon, tenon.fish)
set -eu
tenon=$1 out=$2
mkdir -p "$out"
rm -f "$out"/*
version=$("$tenon" --version | awk '{ print $NF; exit }')
"$tenon" --help >"$out/help.txt"
# "  NAME   what it does" until the first empty line after them
awk '/^  [a-z]/ { seen = 1; name = $1; sub(/^ +[a-z]+ +/, ""); print name "\t" $0; next } seen && /^$/ { exit }' "$out/help.txt" >"$out/commands.txt"

# Options of a command: "short TAB long TAB argument TAB text", a line each, of popt's two columns
options() {
    awk '
        function flush() { if (long != "") print short "\t" long "\t" arg "\t" text; short = long = arg = text = "" }
        /^(Options of|Common options)/ { on = 1; next }
        on && /^ +(-[a-zA-Z], )?--/ {
            flush()
            line = $0
            if (match(line, /-[a-zA-Z], /)) { short = substr(line, RSTART + 1, 1); sub(/-[a-zA-Z], /, "", line) }
            sub(/^ +--/, "", line)
            if (match(line, /  +/)) { text = substr(line, RSTART + RLENGTH); line = substr(line, 1, RSTART - 1) }
            n = match(line, /[= ]/)
            if (n) { arg = substr(line, n + 1); line = substr(line, 1, n - 1) }
            long = line
            next
        }
        on && /^                   +[^ ]/ { sub(/^ +/, ""); text = text (text == "" ? "" : " ") $0; next }
        on && /^$/ { flush(); next }
        on { flush(); exit }
        END { flush() }'
}

roff() { # escapes what roff would take for itself
    sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^\([.']\)/\\\\\&\1/"
}

# ---- manuals
{
    printf '.TH TENON 1 "" "tenon %s" "User Commands"\n.SH NAME\ntenon \\- compile, run and time neural networks\n' "$version"
    printf '.SH SYNOPSIS\n.B tenon\n.I COMMAND\n[options]\n.SH COMMANDS\n'
    while IFS="$(printf '\t')" read -r name what; do
        printf '.TP\n.BR tenon\\-%s (1)\n%s\n' "$name" "$(printf '%s' "$what" | roff)"
    done <"$out/commands.txt"
    printf '.SH EXIT STATUS\n.nf\n'
    sed -n '/^exit codes/,$p' "$out/help.txt" | roff
    printf '.fi\n'
} >"$out/tenon.1"

while IFS="$(printf '\t')" read -r name what; do
    "$tenon" "$name" --help >"$out/$name.txt"
    options <"$out/$name.txt" >"$out/$name.options"
    {
        printf '.TH TENON\\-%s 1 "" "tenon %s" "User Commands"\n' "$(printf '%s' "$name" | tr a-z A-Z)" "$version"
        printf '.SH NAME\ntenon\\-%s \\- %s\n' "$name" "$(printf '%s' "$what" | roff)"
        printf '.SH SYNOPSIS\n%s\n' "$(sed -n 's/^Usage: //p' "$out/$name.txt" | roff)"
        printf '.SH DESCRIPTION\n.nf\n'
        awk '/^Common options/ { common = 1 } common && /^$/ { on = 1; next } on' "$out/$name.txt" |
            awk '/^examples:/ { exit } { print }' | roff
        printf '.fi\n.SH OPTIONS\n'
        awk -F '\t' '{
            printf ".TP\n\\fB%s\\-\\-%s\\fR%s\n", $1 == "" ? "" : "\\-" $1 "\\fR, \\fB", $2, $3 == "" ? "" : " \\fI" $3 "\\fR"
            gsub(/\\/, "\\e", $4); gsub(/-/, "\\-", $4); print ($4 ~ /^[.\x27]/ ? "\\&" : "") $4 }' "$out/$name.options"
        printf '.SH EXAMPLES\n.nf\n'
        sed -n '/^examples:/,$p' "$out/$name.txt" | sed 1d | roff
        printf '.fi\n.SH SEE ALSO\n.BR tenon (1)\n'
    } >"$out/tenon-$name.1"
done <"$out/commands.txt"

# ---- completions: commands first, then a command's options, then files
names=$(cut -f1 "$out/commands.txt" | tr '\n' ' ')
{
    printf '# bash completion of tenon\n_tenon() {\n    local word=${COMP_WORDS[COMP_CWORD]} options=\n'
    printf '    if [ "$COMP_CWORD" = 1 ]; then\n        COMPREPLY=($(compgen -W "%s--help --version" -- "$word"))\n        return\n    fi\n' "$names"
    printf '    case "${COMP_WORDS[1]}" in\n'
    for name in $names; do
        printf '    %s) options="%s" ;;\n' "$name" "$(cut -f2 "$out/$name.options" | sed 's/^/--/' | tr '\n' ' ')"
    done
    printf '    esac\n    case "$word" in\n    -*) COMPREPLY=($(compgen -W "$options" -- "$word")) ;;\n'
    printf '    *) COMPREPLY=($(compgen -f -- "$word")) ;;\n    esac\n}\ncomplete -o filenames -F _tenon tenon\n'
} >"$out/tenon.bash"

single() { # within single quotes
    sed "s/'/'\\\\''/g"
}
quote() { # for single quotes of zsh, with brackets and colons that its descriptions give a meaning
    sed -e "s/'/'\\\\''/g" -e 's/\[/\\[/g' -e 's/]/\\]/g' -e 's/:/\\:/g'
}
{
    printf '#compdef tenon\nlocal -a commands options\ncommands=(\n'
    while IFS="$(printf '\t')" read -r name what; do
        printf "    '%s:%s'\n" "$name" "$(printf '%s' "$what" | single)"
    done <"$out/commands.txt"
    printf ')\nif ((CURRENT == 2)); then\n    _describe command commands\n    return\nfi\ncase $words[2] in\n'
    for name in $names; do
        printf '%s)\n    options=(\n' "$name"
        while IFS= read -r line; do
            long=$(printf '%s' "$line" | cut -f2) arg=$(printf '%s' "$line" | cut -f3) text=$(printf '%s' "$line" | cut -f4 | quote)
            if [ -n "$arg" ]; then
                printf "        '*--%s=[%s]:%s:_files'\n" "$long" "$text" "$(printf '%s' "$arg" | quote)"
            else
                printf "        '*--%s[%s]'\n" "$long" "$text"
            fi
        done <"$out/$name.options"
        printf '    )\n    ;;\n'
    done
    printf 'esac\nshift words\n((CURRENT--))\n_arguments $options "*:file:_files"\n'
} >"$out/_tenon"

{
    printf '# fish completion of tenon\nset -l commands %s\n' "$names"
    while IFS="$(printf '\t')" read -r name what; do
        printf "complete -c tenon -n \"not __fish_seen_subcommand_from \$commands\" -f -a %s -d '%s'\n" "$name" \
            "$(printf '%s' "$what" | sed "s/'/\\\\'/g")"
    done <"$out/commands.txt"
    for name in $names; do
        while IFS= read -r line; do
            short=$(printf '%s' "$line" | cut -f1) arg=$(printf '%s' "$line" | cut -f3)
            printf "complete -c tenon -n '__fish_seen_subcommand_from %s' -l %s%s%s -d '%s'\n" "$name" \
                "$(printf '%s' "$line" | cut -f2)" "${short:+ -s $short}" "${arg:+ -r}" \
                "$(printf '%s' "$line" | cut -f4 | sed "s/'/\\\\'/g")"
        done <"$out/$name.options"
    done
} >"$out/tenon.fish"
rm -f "$out"/*.txt "$out"/*.options
for page in "$out"/*.1; do gzip -9nc "$page" >"$page.gz"; done
