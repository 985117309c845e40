if generation then
  for _, member in ipairs(own_members()) do
    remove_member(member, 'lost')
  end
  redis.call('HSET', key, 'f:' .. node, text(math.max(fence, epoch)))
  save()
end
return 1
