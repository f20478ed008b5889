//! Who may see an event: predicates compiled to bytecode.
