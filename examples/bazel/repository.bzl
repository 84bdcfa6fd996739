"""An installed Tenon as a repository: @tenon//:rt (libtenon_rt: runs plans), @tenon//:lib (libtenon: also the compiler and the
devices that are programs), and @tenon//:command, of the prefix $TENON_PREFIX (/usr without it)."""

_BUILD = """
load("@rules_cc//cc:defs.bzl", "cc_import", "cc_library")

package(default_visibility = ["//visibility:public"])

cc_import(name = "rt_so", shared_library = "lib/{rt}")

cc_import(name = "lib_so", shared_library = "lib/{lib}")

cc_library(name = "rt", hdrs = glob(["include/tenon/**"]), includes = ["include"], deps = [":rt_so"])

cc_library(name = "lib", deps = [":lib_so", ":rt"])

filegroup(name = "command", srcs = ["bin/tenon"])
"""

def _tenon_repository(ctx):
    prefix = ctx.os.environ.get("TENON_PREFIX", "/usr")
    found = ctx.execute(["find", prefix + "/lib", "-maxdepth", "2", "-name", "libtenon*.so.*.*.*"]).stdout.split("\n")
    names = {}
    for path in found:
        for name in ["libtenon_rt", "libtenon"]:
            if ("/" + name + ".so.") in path:
                # by the name that programs ask for at run time
                parts = path.split("/")[-1].split(".")
                names[name] = ".".join(parts[:4])
                ctx.symlink(path, "lib/" + names[name])
    if len(names) != 2 or not ctx.path(prefix + "/bin/tenon").exists:
        fail("there is no Tenon in " + prefix + ": install it (cmake --install build --prefix PREFIX) and set TENON_PREFIX")
    ctx.symlink(prefix + "/include/tenon", "include/tenon")
    ctx.symlink(prefix + "/bin/tenon", "bin/tenon")
    ctx.file("BUILD.bazel", _BUILD.format(rt = names["libtenon_rt"], lib = names["libtenon"]))

tenon_repository = repository_rule(
    implementation = _tenon_repository,
    environ = ["TENON_PREFIX"],
    doc = "An installed Tenon.",
)
