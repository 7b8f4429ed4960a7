// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {IDisputes} from "./interfaces/IDisputes.sol";
import {INodeStaking} from "./interfaces/INodeStaking.sol";
import {IParams, Windows} from "./interfaces/IParams.sol";
import {IPause} from "./interfaces/IPause.sol";
import {IPaymentChannels} from "./interfaces/IPaymentChannels.sol";
import {ChannelConfig, Receipt, Share} from "./interfaces/Types.sol";
import {Hashes} from "./lib/Hashes.sol";
import {Signatures} from "./lib/Signatures.sol";
import {Tokens} from "./lib/Tokens.sol";

/// @dev See {IDisputes}.
contract Disputes is IDisputes {
    using SafeERC20 for IERC20;
    using Tokens for IERC20;

    /* CONSTANTS AND STORAGE */

    uint256 private constant TEXTS_MAX = 24_576;
    uint256 private constant BOND_PART = 20;
    uint128 private constant REWARD_PART = 10;

    IERC20 public immutable token;
    IParams public immutable params;
    IPaymentChannels public immutable channels;
    INodeStaking public immutable staking;
    /// @notice The contract whose pause moves deadlines along.
    IPause public immutable pause;
    /// @notice The only account that can judge.
    address public immutable governor;
    address public immutable protocolTreasury;
    uint64 private immutable _contestWindow;
    uint64 private immutable _judgeWindow;
    uint64 private immutable _pauseMax;
    uint64 private immutable _unbonding;
    uint64 private immutable _slashGap;

    Totals private _totals;
    mapping(bytes32 digest => Case) private _cases;
    /// @dev By node, not by case: a challenge then writes a slot less.
    mapping(address node => Sides) private _sides;
    mapping(address node => Record) private _records;
    /// @inheritdoc IDisputes
    mapping(address account => uint128) public balanceOf;

    /* CONSTRUCTOR */

    constructor(
        IERC20 token_,
        IParams params_,
        IPaymentChannels channels_,
        INodeStaking staking_,
        IPause pause_,
        address protocolTreasury_
    ) {
        Windows memory windows = params_.windows();
        if (protocolTreasury_ == address(0)) revert ZeroAddress();
        (token, params, channels, staking, pause) = (token_, params_, channels_, staking_, pause_);
        (governor, protocolTreasury) = (params_.governor(), protocolTreasury_);
        (_contestWindow, _judgeWindow) = (windows.contest, windows.judge);
        (_pauseMax, _unbonding) = (windows.pauseMax, windows.unbonding);
        // One fault of a software must not take everything, so its operator has some time to mend it.
        _slashGap = windows.judge / 2;
    }

    /* CASES */

    /// @inheritdoc IDisputes
    function challenge(
        ChannelConfig calldata config,
        Receipt calldata receipt,
        Share[] calldata shares,
        bytes calldata nodeSig,
        bytes calldata prompt,
        bytes calldata output
    ) external returns (bytes32 digest) {
        bytes32 domain = channels.domainSeparator();
        _requireCaller(config);
        _requireContents(domain, config, receipt, shares);
        _requireTexts(receipt, prompt, output);
        _requireInTime(receipt.issuedAt);
        digest = MessageHashUtils.toTypedDataHash(domain, Hashes.ofWholeReceipt(receipt));
        _requireSignedBy(config.node, Signatures.signerOf(digest, nodeSig));
        if (_cases[digest].state != State.None) revert AlreadyChallenged(digest, _cases[digest].state);
        _requireChallengeable(config.node);
        _openCase(digest, config.node);
    }

    /// @inheritdoc IDisputes
    function contest(bytes32 digest) external {
        Case memory case_ = _openOne(digest);
        Sides storage sides = _sides[case_.node];
        (address before, uint96 bond) = (sides.contester, sides.bond);
        // F: a challenger could contest its own case, and so lose nothing if it is wrong.
        bool isTakenOver = msg.sender == case_.node && before != case_.node;
        if (before != address(0) && !isTakenOver) revert AlreadyContested(digest, before);
        if (pause.activeSince(case_.openedAt) > _contestWindow) revert ContestOver(case_.openedAt);
        sides.contester = msg.sender;
        emit Contested(digest, msg.sender);
        if (before != address(0)) _return(before, bond);
        _takeBond(bond);
    }

    /// @inheritdoc IDisputes
    function judge(bytes32 digest, bool guilty) external {
        Case memory case_ = _openOne(digest);
        if (msg.sender != governor) revert NotJudge(msg.sender);
        if (_isOver(case_)) revert JudgeOver(case_.openedAt);
        Sides memory sides = _end(digest, case_.node, guilty ? State.Guilty : State.NotGuilty);
        bool isContested = sides.contester != address(0);
        address defender = isContested ? sides.contester : case_.node;
        address winner = guilty ? sides.challenger : defender;
        _return(winner, sides.bond);
        if (isContested) _return(winner, sides.bond);
        (uint128 slashed, uint128 reward) = guilty ? _slash(case_, sides.challenger) : (0, 0);
        emit Judged(digest, guilty, slashed, reward);
    }

    /// @inheritdoc IDisputes
    function close(bytes32 digest) external {
        Case memory case_ = _openOne(digest);
        Record storage record = _records[case_.node];
        if (!_isOver(case_)) revert JudgeNotOver(case_.openedAt);
        // F: cases that nobody judges cost nothing, and end to end they would hold a stake for ever.
        if (record.freeUntil <= case_.openedAt) record.freeUntil = uint64(block.timestamp) + _unbonding;
        Sides memory sides = _end(digest, case_.node, State.Draw);
        emit Lapsed(digest);
        _return(sides.challenger, sides.bond);
        if (sides.contester != address(0)) _return(sides.contester, sides.bond);
    }

    /// @inheritdoc IDisputes
    function withdraw(address to) external returns (uint128 amount) {
        amount = balanceOf[msg.sender];
        if (to == address(0)) revert ZeroAddress();
        // slither-disable-next-line incorrect-equality: an entry of the books, not a balance of tokens
        if (amount == 0) revert NothingToWithdraw(msg.sender);
        balanceOf[msg.sender] = 0;
        _totals.paidOut += amount;
        emit Withdrawn(msg.sender, to, amount);
        token.safeTransfer(to, amount);
    }

    /* VIEWS */

    /// @inheritdoc IDisputes
    function caseOf(bytes32 digest) external view returns (Case memory) {
        return _cases[digest];
    }

    /// @inheritdoc IDisputes
    function sidesOf(address node) external view returns (Sides memory) {
        return _sides[node];
    }

    /// @inheritdoc IDisputes
    function recordOf(address node) external view returns (Record memory) {
        return _records[node];
    }

    /// @inheritdoc IDisputes
    function totals() external view returns (Totals memory) {
        return _totals;
    }

    /// @inheritdoc IDisputes
    function bondNow() public view returns (uint96) {
        return SafeCast.toUint96(Math.ceilDiv(_minStakeAt(uint64(block.timestamp)), BOND_PART));
    }

    /* A CHALLENGE: INTERNALS */

    /// @dev F: nobody else may publish the texts. A node that challenges itself would keep others from it.
    function _requireCaller(ChannelConfig calldata config) private view {
        (address node, address payer, address authorizer) = (config.node, config.payer, config.authorizer);
        if (msg.sender != payer && msg.sender != authorizer) revert NotYourExchange(msg.sender, payer, authorizer);
        if (node == payer || node == authorizer || staking.signerUntil(node, msg.sender) != 0) {
            revert SelfChallenge(node, msg.sender);
        }
    }

    function _requireContents(
        bytes32 domain,
        ChannelConfig calldata config,
        Receipt calldata receipt,
        Share[] calldata shares
    ) private pure {
        bytes32 channelId = MessageHashUtils.toTypedDataHash(domain, Hashes.ofConfig(config));
        bytes32 sharesHash = keccak256(abi.encode(shares));
        if (channelId != receipt.channelId) revert OtherChannel(channelId, receipt.channelId);
        if (sharesHash != receipt.sharesHash) revert OtherShares(sharesHash, receipt.sharesHash);
    }

    function _requireTexts(Receipt calldata receipt, bytes calldata prompt, bytes calldata output) private pure {
        uint256 length = prompt.length + output.length;
        if (length > TEXTS_MAX) revert TextsTooLong(length, TEXTS_MAX);
        (bytes32 promptCommit, bytes32 outputCommit) = (receipt.work.promptCommit, receipt.work.outputCommit);
        if (keccak256(prompt) != promptCommit) revert OtherPrompt(keccak256(prompt), promptCommit);
        if (keccak256(output) != outputCommit) revert OtherOutput(keccak256(output), outputCommit);
    }

    function _requireInTime(uint64 issuedAt) private view {
        uint64 latest = uint64(block.timestamp);
        uint64 earliest = latest - _unbonding;
        if (issuedAt < earliest || issuedAt > latest) revert OutOfTime(issuedAt, earliest, latest);
    }

    /// @dev A node answers for a key that it has revoked as long as for stake that it has unbonded. Signer 0, of a bad
    /// signature, is nobody's key.
    function _requireSignedBy(address node, address signer) private view {
        if (signer != node && staking.signerUntil(node, signer) < block.timestamp) revert NotSignedByNode(node, signer);
    }

    function _requireChallengeable(address node) private view {
        (address challenger, uint64 slashedAt) = (_sides[node].challenger, _records[node].slashedAt);
        uint64 until = slashedAt + _slashGap;
        if (challenger != address(0)) revert CaseOpen(node, challenger);
        if (slashedAt != 0 && block.timestamp < until) revert SlashedLately(node, until);
        if (staking.bondedOf(node) > 0) return;
        // slither-disable-next-line unused-return: only the stake that is unbonding is asked for
        (, uint128 unbonding) = staking.nodeOf(node);
        if (unbonding == 0) revert NoStake(node);
    }

    function _openCase(bytes32 digest, address node) private {
        (uint64 now_, uint96 bond) = (uint64(block.timestamp), bondNow());
        uint64 until = now_ < _records[node].freeUntil ? 0 : now_ + _judgeWindow + _pauseMax;
        _cases[digest] = Case({node: node, openedAt: now_, state: State.Open});
        (_sides[node].challenger, _sides[node].bond) = (msg.sender, bond);
        emit Challenged(digest, node, msg.sender, bond, until);
        if (until != 0) staking.hold(node, until);
        _takeBond(bond);
    }

    /* THE END OF A CASE: INTERNALS */

    function _openOne(bytes32 digest) private view returns (Case memory case_) {
        case_ = _cases[digest];
        if (case_.state != State.Open) revert NotOpen(digest, case_.state);
    }

    function _isOver(Case memory case_) private view returns (bool) {
        return pause.activeSince(case_.openedAt) > _judgeWindow;
    }

    function _end(bytes32 digest, address node, State state) private returns (Sides memory sides) {
        sides = _sides[node];
        delete _sides[node];
        _cases[digest].state = state;
        staking.hold(node, 0);
    }

    /// @dev By the minimum stake of the time at which the case was opened, as its bond.
    function _slash(Case memory case_, address challenger) private returns (uint128 slashed, uint128 reward) {
        _records[case_.node].slashedAt = uint64(block.timestamp);
        slashed = staking.slash(case_.node, _minStakeAt(case_.openedAt));
        reward = slashed / REWARD_PART;
        _totals.slashed += slashed;
        _credit(challenger, reward);
        _credit(protocolTreasury, slashed - reward);
    }

    function _minStakeAt(uint64 time) private view returns (uint128) {
        return params.claimTermsAt(params.epochAt(time)).minStake;
    }

    /* BONDS: INTERNALS */

    /// @dev Tokens move last.
    function _takeBond(uint96 bond) private {
        _totals.bondsIn += bond;
        token.pull(bond);
    }

    function _return(address account, uint96 bond) private {
        _totals.bondsOut += bond;
        _credit(account, bond);
    }

    /// @dev Accounts fetch what is theirs, so one that a token refuses stops no case.
    function _credit(address account, uint128 amount) private {
        balanceOf[account] += amount;
        emit Credited(account, amount);
    }
}
