# Written by GPU Classroom: the default CUDA toolkit comes first in every new shell.
if [ -d /usr/local/cuda/bin ]; then
  export CUDA_HOME=/usr/local/cuda
  case ":$PATH:" in
    *:/usr/local/cuda/bin:*) ;;
    *) export PATH="/usr/local/cuda/bin:$PATH" ;;
  esac
fi
