//! Python bindings of Coulis: the extension module `coulis._coulis`.
