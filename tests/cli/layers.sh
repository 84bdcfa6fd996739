#!/usr/bin/env bash
# Folders depend only leftward: ir <- passes <- codegen <- frontend/cli and the bindings; runtime stands alone, and without its emulator.
# usage: layers.sh SOURCE_DIR
cd "$1" || exit 2
fails=0
forbid() { # FOLDER PATTERN [EXCEPT...]
    local found
    found=$(grep -rnE "#include \"($2)" "$1" --include='*.c' --include='*.h' --include='*.def' "${@:3}")
    if [ -n "$found" ]; then
        printf '%s must not include %s:\n%s\n' "$1" "$2" "$found"
        fails=1
    fi
}
forbid ir 'passes|codegen|runtime|frontend'
forbid passes 'codegen|runtime|frontend'
forbid codegen 'frontend'
forbid runtime 'ir/|passes|codegen|frontend' --exclude-dir=include
forbid runtime 'runtime/emu' --exclude-dir=emu
forbid frontend 'passes|codegen|runtime' --exclude-dir={cli,onnxruntime,triton}
forbid frontend/triton 'passes|codegen|ir/'
exit $fails
