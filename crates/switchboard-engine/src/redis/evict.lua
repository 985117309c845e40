if generation then
  for _, its in ipairs(own_seats()) do
    free(its, 'lost')
  end
  redis.call('HSET', key, 'f:' .. node, text(math.max(fence, epoch)))
  save()
end
return 1
