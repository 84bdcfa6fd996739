// tn_variant_end.cuh: the end of what editors and linters see in place of a step's namespace.
} // namespace tn_step_lint_kernel
