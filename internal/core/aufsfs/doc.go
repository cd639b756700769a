// Package aufsfs makes aufs mounts, and flushes their pseudo-links before it unmounts them. It knows nothing of layers.
package aufsfs
