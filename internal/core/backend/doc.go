// Package backend mounts layers on top of one another, with aufs or with overlayfs.
package backend
