// Package inuse finds out which layers are mounted, in any mount namespace, and notes what aufs calls its mounts.
package inuse
