// Package aufsfs makes aufs mounts, and flushes their pseudo-links before unmounting them. It knows nothing of layers.
package aufsfs
