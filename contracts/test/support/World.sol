// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttributionRewards} from "../../src/interfaces/IAttributionRewards.sol";
import {IDatanetRegistry} from "../../src/interfaces/IDatanetRegistry.sol";
import {IModelRegistry} from "../../src/interfaces/IModelRegistry.sol";
import {INodeStaking} from "../../src/interfaces/INodeStaking.sol";
import {Bounds, IParams, Values, Windows} from "../../src/interfaces/IParams.sol";
import {ChannelConfig, ClaimRecord, EpochClaim, Item, Payout, PPM} from "../../src/interfaces/Types.sol";
import {IChannels, IToken} from "./Contracts.sol";
import {Signed} from "./Signed.sol";
import {vm, Vm} from "./Vm.sol";

/// @notice A small network: one node, one payer, two Datanets, three adapters.
///
///   adapter   royalty   Datanets
///   ONE       10 %      first 60 %, second 40 %
///   TWO       none      first
///   BARE      5 %       none
abstract contract World is Signed {
    bytes32 internal constant BASE = 0;

    uint128 internal constant OPEN = 1e18;
    uint128 internal constant MIN_STAKE = 1_000 * OPEN;
    uint128 internal constant STAKE = 10_000 * OPEN;
    uint128 internal constant MIN_DEPOSIT = OPEN;
    uint128 internal constant DEPOSIT = 100 * OPEN;
    uint128 internal constant BOND = 10 * OPEN;
    uint64 internal constant DELAY = 2 days;
    address internal constant BURNT = 0x000000000000000000000000000000000000dEaD;

    address internal governor = address(0x60);
    address internal guardian = address(0x61);
    address internal treasury = address(0x71);
    address internal maker = address(0x81);
    address internal curator = address(0x91);
    address internal firstTreasury = address(0xA1);
    address internal secondTreasury = address(0xA2);
    address internal alice = address(0xC1);
    address internal bob = address(0xC2);

    IParams internal params;
    IDatanetRegistry internal datanets;
    IModelRegistry internal models;
    bytes32 internal first;
    bytes32 internal second;
    // Ids in ascending order.
    bytes32 internal ONE;
    bytes32 internal TWO;
    bytes32 internal BARE;

    function setUp() public virtual {
        vm.warp(100 days);
        _deploy();
        _register();
        _fund(node);
        _fund(payer);
        vm.startPrank(node);
        staking.bond(STAKE);
        staking.setSigner(signer, uint64(block.timestamp), _consent(SIGNER_KEY, node, uint64(block.timestamp)));
        vm.stopPrank();
    }

    function _deploy() private {
        token = _token();
        params = IParams(_new("Params", abi.encode(governor, values(), bounds(), windows())));
        staking = INodeStaking(_new("NodeStaking", abi.encode(token, params)));
        datanets = IDatanetRegistry(_new("DatanetRegistry", abi.encode(params)));
        models = IModelRegistry(_new("ModelRegistry", abi.encode(token, params, datanets)));
        channels = IChannels(_new("PaymentChannels", abi.encode(token, params, staking, models, datanets, guardian)));
        rewards = IAttributionRewards(
            _new("AttributionRewards", abi.encode(token, params, channels, staking, datanets, treasury))
        );
        channels.wire(address(rewards));
    }

    function _token() internal virtual returns (IToken) {
        return IToken(_new("OpenToken", abi.encode(address(this), 1_000_000_000 * uint256(OPEN))));
    }

    /// @dev The code as it is shipped: tests import no contract. See Contracts.sol.
    function _new(string memory name, bytes memory arguments) internal returns (address) {
        return vm.deployCode(string.concat(name, ".sol:", name), arguments);
    }

    /// @dev Ids are hashes: which name comes first is luck, so that they ascend is settled here.
    function _register() private {
        bytes32 a = keccak256(abi.encode(curator, "a"));
        bytes32 b = keccak256(abi.encode(curator, "b"));
        (string memory name1, string memory name2) = a < b ? ("a", "b") : ("b", "a");
        vm.startPrank(curator);
        first = datanets.create(name1, firstTreasury, 100_000, "CC-BY-4.0", 2);
        second = datanets.create(name2, secondTreasury, 0, "CC-BY-4.0", 2);
        vm.stopPrank();
        _fund(maker);
        bytes32[] memory ids = _manifests(maker, 1, 3);
        uint32[] memory even = _weights(1_000_000);
        vm.startPrank(maker);
        ONE = models.register(ids[0], "base", "a", "index", _ids(first, second), _weights(600_000, 400_000), 100_000);
        TWO = models.register(ids[1], "base", "b", "index", _ids(first), even, 0);
        BARE = models.register(ids[2], "base", "c", "", new bytes32[](0), new uint32[](0), 50_000);
        vm.stopPrank();
    }

    function _adapterId(address owner, bytes32 manifest) internal pure returns (bytes32) {
        return keccak256(abi.encode(owner, manifest));
    }

    /// @dev The manifests from `least` on, in the order of the ids that their adapters have as `owner`'s.
    function _manifests(address owner, uint256 least, uint256 count) internal pure returns (bytes32[] memory sorted) {
        sorted = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            sorted[i] = bytes32(least + i);
            for (uint256 at = i; at > 0 && _adapterId(owner, sorted[at]) < _adapterId(owner, sorted[at - 1]); --at) {
                (sorted[at], sorted[at - 1]) = (sorted[at - 1], sorted[at]);
            }
        }
    }

    function values() internal pure virtual returns (Values memory) {
        return Values({
            protocolPpm: 50_000,
            dataPpm: 200_000,
            minStake: MIN_STAKE,
            minDeposit: MIN_DEPOSIT,
            adapterBond: BOND,
            draws: 4,
            algoId: 1,
            creditTokensMax: 32,
            leastContext: 2_048,
            guidePrice: OPEN / 1_000
        });
    }

    function bounds() internal pure returns (Bounds memory) {
        return Bounds({
            protocolPpmMax: 100_000,
            dataPpmMin: 100_000,
            dataPpmMax: 300_000,
            royaltyPpmMax: 200_000,
            creditTokensMax: 1_024,
            leastContextMax: 1_000_000,
            guidePriceMax: OPEN,
            minStakeMin: 1,
            minStakeMax: 100_000 * OPEN,
            minDepositMin: 1,
            minDepositMax: 100 * OPEN,
            adapterBondMin: 0,
            adapterBondMax: 1_000 * OPEN
        });
    }

    function windows() internal pure virtual returns (Windows memory) {
        return Windows({
            epoch: 1 days,
            propose: 3 days,
            window: 1 hours,
            redrawBlocks: 256,
            slashGap: 6 days,
            unbonding: 16 days,
            withdrawDelayMin: 1 days,
            withdrawDelayMax: 30 days,
            withdrawPeriod: 7 days
        });
    }

    // ---- money and channels ----

    function _fund(address account) internal {
        token.transfer(account, 1_000_000 * uint256(OPEN));
        vm.startPrank(account);
        token.approve(address(channels), type(uint256).max);
        token.approve(address(staking), type(uint256).max);
        token.approve(address(models), type(uint256).max);
        vm.stopPrank();
    }

    function _config(uint256 salt) internal view returns (ChannelConfig memory) {
        return ChannelConfig({
            payer: payer, authorizer: authorizer, node: node, withdrawDelay: DELAY, salt: bytes32(salt)
        });
    }

    function _open(uint256 salt) internal returns (ChannelConfig memory config) {
        config = _config(salt);
        vm.prank(payer);
        channels.open(config, DEPOSIT);
    }

    function _refund(ChannelConfig memory config, uint128 amount, uint256 nonce) internal {
        vm.prank(signer);
        channels.refund(config, amount, nonce, "");
    }

    function _left(ChannelConfig memory config) internal view returns (uint128) {
        (uint128 deposit, uint128 claimed) = channels.channelOf(channels.channelId(config));
        return deposit - claimed;
    }

    // ---- claims ----

    /// @dev An item of the lane of the base model, of a claim that names it first.
    function _item(ChannelConfig memory config, uint128 from, uint128 to) internal view returns (Item memory) {
        return _lane(config, BASE, 0, from, to);
    }

    /// @dev An item of the lane of `adapters[adapter]`, which is `adapterId`.
    function _lane(ChannelConfig memory config, bytes32 adapterId, uint16 adapter, uint128 from, uint128 to)
        internal
        view
        returns (Item memory)
    {
        return Item({
            config: config,
            adapter: adapter,
            maxClaimable: to,
            from: from,
            to: to,
            signature: _voucher(config, adapterId, to)
        });
    }

    function _leaf(Item memory item, bytes32 adapterId) internal view returns (bytes32) {
        bytes32 tag = keccak256("openledger.item-leaf/1");
        bytes32 id = channels.channelId(item.config);
        return keccak256(abi.encode(tag, id, adapterId, item.config.authorizer, item.from, item.to));
    }

    /// @dev Items of adapters that the claim does not name have no leaf, since the contract refuses them.
    function _itemsHash(bytes32[] memory adapters, Item[] memory items) internal view returns (bytes32) {
        bytes32[] memory leaves = new bytes32[](items.length);
        for (uint256 i = 0; i < items.length; ++i) {
            if (items[i].adapter < adapters.length) leaves[i] = _leaf(items[i], adapters[items[i].adapter]);
        }
        return keccak256(abi.encodePacked(leaves));
    }

    function _items(Item memory a) internal pure returns (Item[] memory items) {
        items = new Item[](1);
        items[0] = a;
    }

    function _items(Item memory a, Item memory b) internal pure returns (Item[] memory items) {
        items = new Item[](2);
        (items[0], items[1]) = (a, b);
    }

    function _epochClaim(bytes32[] memory adapters, Item[] memory items) internal view returns (EpochClaim memory) {
        return EpochClaim({
            node: node,
            seq: channels.nextSeq(node),
            epoch: params.epochAt(uint64(block.timestamp)),
            itemsHash: _itemsHash(adapters, items)
        });
    }

    function _claim(bytes32[] memory adapters, Item[] memory items) internal returns (ClaimRecord memory) {
        EpochClaim memory epochClaim = _epochClaim(adapters, items);
        vm.recordLogs();
        vm.prank(signer);
        channels.claim(epochClaim, adapters, items, "");
        return _lastRecord();
    }

    /// @dev Open a channel and claim all of its deposit, earned with one adapter.
    function _claimed(bytes32 adapter) internal returns (ClaimRecord memory) {
        ChannelConfig memory config = _open(uint256(keccak256(abi.encode("channel", channels.nextSeq(node)))));
        return _claim(_ids(adapter), _items(_lane(config, adapter, 0, 0, DEPOSIT)));
    }

    function _lastRecord() internal returns (ClaimRecord memory) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        Vm.Log memory last = logs[logs.length - 1];
        yes("the last log is Claimed", last.emitter == address(channels) && last.data.length > 0);
        return abi.decode(last.data, (ClaimRecord));
    }

    function _sum(ClaimRecord memory record) internal pure returns (uint256 sum) {
        sum = uint256(record.protocol) + record.nodeShare;
        for (uint256 i = 0; i < record.credits.length; ++i) sum += record.credits[i].amount;
        for (uint256 i = 0; i < record.pots.length; ++i) sum += record.pots[i].amount;
    }

    // ---- payouts ----

    function _payout(uint16 pot, address account, uint256 weight) internal pure returns (Payout memory) {
        return Payout({pot: pot, account: account, weight: weight});
    }

    /// @dev Each pot to one account, whole.
    function _payouts(ClaimRecord memory record, address account) internal pure returns (Payout[] memory payouts) {
        payouts = new Payout[](record.pots.length);
        for (uint16 i = 0; i < payouts.length; ++i) {
            payouts[i] = _payout(i, account, PPM * record.pots[i].gross);
        }
    }

    function _propose(ClaimRecord memory record, Payout[] memory payouts) internal {
        vm.prank(signer);
        rewards.propose(record, "receipts", payouts);
    }

    /// @dev Propose and let the window pass.
    function _proposed(ClaimRecord memory record, Payout[] memory payouts) internal {
        _propose(record, payouts);
        vm.warp(block.timestamp + windows().window);
    }

    // ---- arrays ----

    function _none() internal pure returns (bytes32[] memory) {
        return new bytes32[](0);
    }

    function _ids(bytes32 a) internal pure returns (bytes32[] memory ids) {
        ids = new bytes32[](1);
        ids[0] = a;
    }

    function _ids(bytes32 a, bytes32 b) internal pure returns (bytes32[] memory ids) {
        ids = new bytes32[](2);
        (ids[0], ids[1]) = (a, b);
    }

    function _weights(uint32 a) internal pure returns (uint32[] memory weights) {
        weights = new uint32[](1);
        weights[0] = a;
    }

    function _weights(uint32 a, uint32 b) internal pure returns (uint32[] memory weights) {
        weights = new uint32[](2);
        (weights[0], weights[1]) = (a, b);
    }

    // ---- expectations ----

    function _refuses(bytes4 selector) internal {
        vm.expectRevert(abi.encodeWithSelector(selector));
    }

    function _refuses(bytes4 selector, bytes memory values_) internal {
        vm.expectRevert(abi.encodePacked(selector, values_));
    }

    function _emits(address emitter) internal {
        vm.expectEmit(emitter);
    }
}
