// Two matrices are multiplied on the GPU, and every element is held against the processor's result. Whole numbers: both are exact.
#include <cstdio>
#include <cstdlib>
#include <vector>
#include <cuda_runtime.h>

constexpr int SIZE = 100;    // rows and columns; no multiple of TILE, so that the border counts too
constexpr int TILE = 32;

__global__ void multiply(const int *left, const int *right, int *product)
{
    const int row = blockIdx.y * blockDim.y + threadIdx.y;
    const int column = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= SIZE || column >= SIZE)
        return;
    int sum = 0;
    for (int k = 0; k < SIZE; ++k)
        sum += left[row * SIZE + k] * right[k * SIZE + column];
    product[row * SIZE + column] = sum;
}

// End with CUDA's own words if a call failed.
static void must(cudaError_t status)
{
    if (status == cudaSuccess)
        return;
    std::fprintf(stderr, "%s\n", cudaGetErrorString(status));
    std::exit(1);
}

static int element(const std::vector<int> &left, const std::vector<int> &right, int row, int column)
{
    int sum = 0;
    for (int k = 0; k < SIZE; ++k)
        sum += left[row * SIZE + k] * right[k * SIZE + column];
    return sum;
}

int main()
{
    std::vector<int> left(SIZE * SIZE), right(SIZE * SIZE), product(SIZE * SIZE, -1);
    for (int i = 0; i < SIZE * SIZE; ++i) {
        left[i] = i % 7;
        right[i] = i % 11 - 5;
    }
    const size_t bytes = product.size() * sizeof(int);
    int *onGpu[3];
    for (int *&matrix : onGpu)
        must(cudaMalloc(&matrix, bytes));
    must(cudaMemcpy(onGpu[0], left.data(), bytes, cudaMemcpyHostToDevice));
    must(cudaMemcpy(onGpu[1], right.data(), bytes, cudaMemcpyHostToDevice));
    const dim3 threads(TILE, TILE), blocks((SIZE + TILE - 1) / TILE, (SIZE + TILE - 1) / TILE);
    multiply<<<blocks, threads>>>(onGpu[0], onGpu[1], onGpu[2]);
    must(cudaGetLastError());
    must(cudaMemcpy(product.data(), onGpu[2], bytes, cudaMemcpyDeviceToHost));
    for (int i = 0; i < SIZE * SIZE; ++i) {
        const int expected = element(left, right, i / SIZE, i % SIZE);
        if (product[i] != expected) {
            std::fprintf(stderr, "element %d is %d on the GPU, %d on the processor\n", i, product[i], expected);
            return 1;
        }
    }
    std::printf("The GPU multiplied two %dx%d matrices as the processor does.\n", SIZE, SIZE);
    return 0;
}
