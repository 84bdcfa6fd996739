"""tenon_plan(name, model, targets): a library that holds the plan of a model: #include "NAME.h"."""

load("@rules_cc//cc:defs.bzl", "cc_library")

def tenon_plan(name, model, targets, precision = "fp32", shapes = [], deps = ["@tenon//:rt"], **kwargs):
    """Compiles a model when it or Tenon changes, without a GPU; the library has NAME_plan() and NAME_run().

    Args:
      name: of the library, and of its header NAME.h
      model: an ONNX file
      targets: architectures: ["sm_80", "sm_90a"]
      precision: fp32, tf32, fp16 or bf16
      shapes: inputs' sizes as of tenon compile --shape
      deps: @tenon//:lib in place of @tenon//:rt where the devices cpu or emu are wanted
      **kwargs: of the library
    """
    options = ["--target " + ",".join(targets), "--precision " + precision] + ["--shape " + s for s in shapes]
    folder = name + "_plan"
    stem = folder + "/" + name
    native.genrule(
        name = name + "_files",
        srcs = [model],
        outs = [stem + ".plan", stem + ".c", stem + ".h"],
        tools = ["@tenon//:command"],
        # the C file names the plan by a path that only this action has
        cmd = ("$(location @tenon//:command) compile $(location {model}) -o $(location {stem}.plan) --emit-c $(RULEDIR)/{stem} " +
               "--no-gpu --quiet {options} && sed -i \"s|$$(pwd -P)/||\" $(location {stem}.c)").format(
            model = model,
            stem = stem,
            options = " ".join(options),
        ),
    )
    cc_library(
        name = name,
        srcs = [stem + ".c"],
        hdrs = [stem + ".h"],
        textual_hdrs = [stem + ".plan"],  # the C file includes its bytes
        includes = [folder],
        deps = deps,
        **kwargs
    )
