package solver

import (
	"github.com/tenonbuild/tenon/solver/internal/edge"
	"testing"
	"unsafe"
)

func TestSizes(t *testing.T) {
	t.Log("vertex", unsafe.Sizeof(vertex{}), "edgeState", unsafe.Sizeof(edgeState{}), "machine", unsafe.Sizeof(edge.Machine{}), "opState", unsafe.Sizeof(opState{}), "progress", unsafe.Sizeof(progress{}), "execution", unsafe.Sizeof(execution{}), "execCall", unsafe.Sizeof(execCall{}), "mapCall", unsafe.Sizeof(mapCall{}), "task", unsafe.Sizeof(task{}), "CacheKey", unsafe.Sizeof(CacheKey{}), "keyDep", unsafe.Sizeof(keyDep{}), "trace", unsafe.Sizeof(edgeTrace{}), "ins", unsafe.Sizeof(inputState{}), "cacheMap", unsafe.Sizeof(cacheMap{}), "planItem", unsafe.Sizeof(planItem{}), "frame", unsafe.Sizeof(planFrame{}), "step", unsafe.Sizeof(step{}), "taskctx", unsafe.Sizeof(taskContext{}), "memnode", unsafe.Sizeof(memNode{}))
}
