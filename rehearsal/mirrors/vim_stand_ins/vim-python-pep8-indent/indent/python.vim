" Stand-in of GPU Classroom's rehearsal for https://github.com/Vimjas/vim-python-pep8-indent, which no package archive carries.
" It leaves indentation to vim's own file.
