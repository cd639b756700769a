// Package overlayfs makes one overlay mount, with whichever calls the kernel has. It knows nothing of layers.
package overlayfs
