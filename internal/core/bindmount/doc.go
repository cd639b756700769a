// Package bindmount makes the bind mounts that show a layer without parents.
package bindmount
