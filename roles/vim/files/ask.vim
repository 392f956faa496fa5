" Asks the vim that a student opens a Python file with: types the beginning of a word, and writes what vim says to file descriptor 3.

let g:answer = {'plugins': [], 'offered': []}
call setline(1, ['import os', 'os.pa'])
redraw
let s:keyword = synIDtrans(synID(1, 1, 1))
let g:answer.colour = synIDattr(s:keyword, 'fg')
let g:answer.syntax = synIDattr(synID(1, 1, 1), 'name')
for s:plugin in g:vundle#bundles
  let s:head = trim(system('git -C ' . shellescape(s:plugin.path()) . ' rev-parse HEAD'))
  call add(g:answer.plugins, {'uri': s:plugin.uri, 'version': s:head})
endfor

function! Offered() abort
  let g:answer.offered = map(copy(complete_info(['items']).items), 'v:val.word')
  return ''
endfunction

call cursor(2, 5)
call feedkeys("A\<C-X>\<C-O>\<C-R>=Offered()\<CR>\<Esc>", 'xt')
let g:answer.python = has('python3')
let g:answer.environment = get(g:, 'jedi#environment_path', '')
let g:answer.error = v:errmsg
let g:answer.messages = filter(split(execute('messages'), "\n"), 'v:val !~# "^Messages maintainer:"')
call writefile([json_encode(g:answer)], '/dev/fd/3')
qall!
