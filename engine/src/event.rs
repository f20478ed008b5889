//! What is published: channel, type, attributes, document.
